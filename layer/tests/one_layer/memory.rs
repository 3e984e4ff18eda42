//! What is under way is bounded, however many wait.

use crate::support::*;
use futures_util::future::join_all;
use layer::{Background, BackgroundOptions, CacheOptions};
use std::sync::Arc;
use std::time::Duration;

const READERS: u32 = 64;
const SPAN: u64 = 256 << 10;
/// Compressed and inflated; this tar is not compressed.
const WEIGHT: u64 = 2 * SPAN;
const BOUND: u64 = 8 << 20;

#[tokio::test]
async fn many_cold_readers_and_a_profile_stay_within_the_bound() {
    let fixture = large_fixture(SPAN, 2 * READERS);
    let cache = CacheOptions {
        in_flight: BOUND,
        ..CacheOptions::default()
    };
    let bench = bench_of(fixture, &unchecked(), cache);
    bench.blob.hold();
    let options = BackgroundOptions {
        enabled: false,
        ..BackgroundOptions::default()
    };
    let background = Background::start(&bench.cache, options);
    let at = |span: u32| u64::from(span) * SPAN;
    let (inode, _) = bench.fixture.large_file();
    // Every second span by a reader of its own, the others by a profile.
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let layer = Arc::clone(&bench.layer);
            tokio::spawn(async move { read(&layer, inode, at(2 * reader), 1000).await })
        })
        .collect();
    let profile = (0..READERS).map(|reader| at(2 * reader + 1) + SPAN / 2);
    background.prefetch_reads(&bench.layer, profile.map(|start| (start..start + 1, 0)));

    let all = (BOUND / WEIGHT) as usize;
    let readers_part = all * 3 / 8;
    until(&bench, readers_part + 1).await;
    tokio::time::sleep(Duration::from_millis(150)).await;
    let asked = bench.blob.requests();
    let of_readers = asked
        .iter()
        .filter(|range| (range.start / SPAN).is_multiple_of(2))
        .count();
    assert!(
        of_readers <= readers_part && asked.len() <= all,
        "{asked:?}"
    );
    assert_eq!(bench.cache.usage().in_flight, asked.len() as u64 * WEIGHT);

    bench.blob.release();
    let mut answers = std::pin::pin!(join_all(readers));
    let answers = loop {
        let in_flight = bench.cache.usage().in_flight;
        assert!(in_flight <= BOUND, "{in_flight} bytes are under way");
        match tokio::time::timeout(Duration::from_millis(1), &mut answers).await {
            Ok(answers) => break answers,
            Err(_) => continue,
        }
    };
    for (reader, bytes) in (0..READERS).zip(answers) {
        let bytes = bytes.unwrap().unwrap();
        assert_eq!(bytes, expected(&bench.fixture, inode, at(2 * reader), 1000));
    }
    bench.settle().await;
    let gone = || bench.cache.usage().in_flight == 0;
    wait_for(gone, || format!("{:?} is held", bench.cache.usage())).await;
}
