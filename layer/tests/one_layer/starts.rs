//! What a start-up profile names is brought in order, several requests at a time, between waiting readers and the background.

use crate::support::*;
use layer::{Background, BackgroundOptions};
use soci::spans::SpanId;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

fn background(bench: &Bench, request: u64) -> Background {
    let options = BackgroundOptions {
        first_spans: 1,
        silence_period: Duration::ZERO,
        reader_silence: Duration::ZERO,
        request,
        ..BackgroundOptions::default()
    };
    Background::start(&bench.cache, options)
}

/// A few bytes in the middle of a span.
fn inside(bench: &Bench, span: u32) -> Range<u64> {
    let range = bench.fixture.spans().uncompressed(SpanId(span)).unwrap();
    let middle = range.start.midpoint(range.end);
    middle..middle + 10
}

fn compressed(bench: &Bench, spans: &[u32]) -> Vec<Range<u64>> {
    let table = bench.fixture.spans();
    let range = |span: &u32| table.compressed(SpanId(*span)).unwrap();
    spans.iter().map(range).collect()
}

#[tokio::test]
async fn a_profile_is_asked_for_at_once_and_in_the_order_of_use() {
    let bench = bench("pax", &unchecked());
    let background = background(&bench, 1);
    bench.blob.hold();
    let reads = [(3, 0), (1, 5), (3, 6), (0, 9)];
    let reads = reads.map(|(span, at)| (inside(&bench, span), at));
    // Not mounted: nobody has to wait for that.
    background.prefetch_reads(&bench.layer, reads);
    until(&bench, 3).await;
    assert_eq!(bench.blob.requests(), compressed(&bench, &[3, 1, 0]));
    bench.blob.release();
    for span in [3, 1, 0] {
        bench.check_span(span).await;
    }
    assert_eq!(bench.blob.count(), 3, "nothing is fetched twice");
}

#[tokio::test]
async fn neighbours_are_one_request_and_what_is_here_is_none() {
    let bench = bench("pax", &unchecked());
    bench.check_span(2).await;
    let background = background(&bench, 1);
    let reads = [0, 1, 2, 3].map(|span| (inside(&bench, span), span));
    background.prefetch_reads(&bench.layer, reads);
    until(&bench, 3).await;
    let whole = compressed(&bench, &[0, 1]);
    let first = whole[0].start..whole[1].end;
    let expected = [
        compressed(&bench, &[2]),
        vec![first],
        compressed(&bench, &[3]),
    ]
    .concat();
    assert_eq!(bench.blob.requests(), expected);
}

#[tokio::test]
async fn a_reader_does_not_wait_for_what_a_profile_still_has_to_bring() {
    let bench = bench("pax", &unchecked());
    let background = background(&bench, 1);
    bench.blob.hold();
    background.prefetch_reads(&bench.layer, [(inside(&bench, 3), 0)]);
    until(&bench, 1).await;
    let (inode, at) = bench.fixture.place_in(1);
    let layer = Arc::clone(&bench.layer);
    let reader = tokio::spawn(async move { read(&layer, inode, at, 10).await });
    until(&bench, 2).await;
    assert_eq!(bench.blob.requests(), compressed(&bench, &[3, 1]));
    bench.blob.release();
    reader.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_background_waits_for_the_profile_and_does_not_guess() {
    let bench = bench("pax", &unchecked());
    let background = background(&bench, 1);
    bench.blob.hold();
    background.prefetch_reads(&bench.layer, [(inside(&bench, 3), 0)]);
    background.add(&bench.layer);
    until(&bench, 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.blob.requests(), compressed(&bench, &[3]));
    bench.blob.release();
    bench.settle().await;
    assert_eq!(bench.blob.requests(), compressed(&bench, &[3, 0, 1, 2, 4]));
}

#[tokio::test]
async fn a_registry_that_fails_leaves_the_profile_to_the_readers() {
    let bench = bench("pax", &unchecked());
    let background = background(&bench, 1);
    bench
        .blob
        .play(&[Trick::Fail(layer::SourceFailure::Denied); 2]);
    let reads = [3, 1].map(|span| (inside(&bench, span), 0));
    background.prefetch_reads(&bench.layer, reads);
    until(&bench, 2).await;
    bench.check_everything().await;
}
