//! Who comes first on a link that the background has filled.

use crate::support::*;
use layer::{Background, BackgroundOptions, CacheOptions};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

const SPAN: u64 = 4 << 20;
const SPANS: u32 = 10;
/// As much as is asked for at once while nothing is known of the link.
const FIRST: u64 = 2 << 20;

/// Long enough for anything that was going to be asked.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(150)).await;
}

fn tar(span: u32) -> Range<u64> {
    let start = u64::from(span) * SPAN;
    start..start + SPAN
}

fn eager() -> BackgroundOptions {
    BackgroundOptions {
        first_spans: 0,
        silence_period: Duration::ZERO,
        reader_silence: Duration::ZERO,
        ..BackgroundOptions::default()
    }
}

/// A reader and a profile come while the background has all under way that it may have, in parts of spans.
/// Told apart by the order of the requests alone.
#[tokio::test]
async fn a_reader_comes_before_a_profile_and_that_before_a_background_that_fills_the_link() {
    // What is under way is bounded by memory, or by the link.
    for in_flight in [64 << 20, 1 << 30] {
        check_order(in_flight).await;
    }
}

async fn check_order(in_flight: u64) {
    let cache = CacheOptions {
        in_flight,
        ..CacheOptions::default()
    };
    let bench = bench_of(large_fixture(SPAN, SPANS), &unchecked(), cache);
    bench.blob.hold();
    let background = Background::start(&bench.cache, eager());
    background.add(&bench.layer);
    until(&bench, 1).await;
    a_while().await;
    let full = bench.blob.count();
    let parts = bench.blob.requests();
    assert!(
        parts.iter().all(|part| part.end - part.start < SPAN),
        "no span was split: {parts:?}"
    );

    let under_way: u64 = parts.iter().map(|part| part.end - part.start).sum();
    assert!(under_way <= FIRST, "{parts:?}");

    // The reader's request goes out at once.
    let (inode, at) = bench.fixture.place_in(SPANS - 1);
    let layer = Arc::clone(&bench.layer);
    let reader = tokio::spawn(async move { read(&layer, inode, at, 100).await });
    until(&bench, full + 1).await;
    assert_eq!(bench.blob.requests()[full], tar(SPANS - 1));

    // What was under way arrives, and nothing more is asked for while the reader waits.
    bench.blob.answer(0..full);
    let arrived = || bench.metrics().fetched_bytes.get() >= under_way;
    wait_for(arrived, || "the background's own answers".to_owned()).await;
    a_while().await;
    assert_eq!(bench.blob.count(), full + 1, "{:?}", bench.blob.requests());

    // A profile does not wait for the background's turn, and the background waits for all of it.
    background.prefetch_reads(
        &bench.layer,
        [SPANS - 3, SPANS - 5].map(|span| (tar(span), 0)),
    );
    until(&bench, full + 2).await;
    bench.blob.answer(full..full + 1);
    let bytes = reader.await.unwrap().unwrap();
    assert_eq!(bytes, expected(&bench.fixture, inode, at, 100));
    a_while().await;
    let profile = [SPANS - 3, SPANS - 5].map(tar);
    let asked = bench.blob.requests();
    assert!(profile.starts_with(&asked[full + 1..]), "{asked:?}");
    bench.blob.release();
    bench.settle().await;
    let asked = bench.blob.requests();
    assert_eq!(asked[full + 1..full + 3], profile);

    // Each byte once.
    let mut asked = asked;
    asked.sort_by_key(|range| range.start);
    assert!(
        asked.windows(2).all(|pair| pair[0].end == pair[1].start),
        "{asked:?}"
    );
    assert_eq!(
        asked.last().map(|range| range.end),
        Some(tar(SPANS - 1).end)
    );
}

/// The background has no memory for more than one span: it stands back for the reader and keeps it.
#[tokio::test]
async fn a_reader_does_not_wait_for_memory_that_the_background_holds() {
    let cache = CacheOptions {
        in_flight: 8 * SPAN,
        ..CacheOptions::default()
    };
    let bench = bench_of(large_fixture(SPAN, 3), &unchecked(), cache);
    bench.blob.hold();
    let background = Background::start(&bench.cache, eager());
    background.add(&bench.layer);
    until(&bench, 1).await;
    a_while().await;
    assert_eq!(bench.blob.count(), 1, "{:?}", bench.blob.requests());
    let (inode, at) = bench.fixture.place_in(1);
    let layer = Arc::clone(&bench.layer);
    let reader = tokio::spawn(async move { read(&layer, inode, at, 100).await });
    until(&bench, 2).await;
    assert_eq!(bench.blob.requests()[1], tar(1));
    bench.blob.release();
    let bytes = reader.await.unwrap().unwrap();
    assert_eq!(bytes, expected(&bench.fixture, inode, at, 100));
    bench.settle().await;
}
