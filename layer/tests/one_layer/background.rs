//! What is fetched when nobody asks, and when not.

use crate::support::*;
use layer::{Background, BackgroundOptions, DropPolicy, Read, SourceFailure};
use soci::spans::SpanId;
use std::sync::Arc;
use std::time::Duration;

fn eager() -> BackgroundOptions {
    BackgroundOptions {
        first_spans: 0,
        silence_period: Duration::ZERO,
        reader_silence: Duration::ZERO,
        min_backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(4),
        ..BackgroundOptions::default()
    }
}

#[tokio::test]
async fn a_layer_becomes_complete_by_itself() {
    let bench = bench("pax", &unchecked());
    let background = Background::start(&bench.cache, eager());
    background.add(&bench.layer);
    bench.settle().await;
    assert!(bench.layer.progress().complete);
    // One gap, as all of it fits a request.
    assert_eq!(bench.blob.count(), 1);
    bench.check_everything().await;
    assert_eq!(bench.blob.count(), 1);
}

#[tokio::test]
async fn spans_come_in_order_in_requests_of_the_given_size() {
    let bench = bench("pax", &unchecked());
    let background = Background::start(
        &bench.cache,
        BackgroundOptions {
            request: 1,
            ..eager()
        },
    );
    background.add(&bench.layer);
    bench.settle().await;
    let table = bench.fixture.spans();
    let expected: Vec<_> = (0..table.len())
        .map(|span| table.compressed(SpanId(span)).unwrap())
        .collect();
    assert_eq!(bench.blob.requests(), expected);
}

#[tokio::test]
async fn prefetched_spans_come_first_even_where_filling_is_off() {
    let bench = bench("pax", &unchecked());
    let options = BackgroundOptions {
        enabled: false,
        request: 1,
        ..eager()
    };
    let background = Background::start(&bench.cache, options);
    background.add(&bench.layer);
    bench.layer.prefetch(3..5);
    bench.layer.prefetch(1..2);
    let table = bench.fixture.spans();
    let span = |span| table.compressed(SpanId(span)).unwrap();
    while bench.blob.count() < 3 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.blob.requests(), [span(3), span(4), span(1)]);
    // Nonsense is not followed.
    bench.layer.prefetch(7..9);
    #[allow(clippy::reversed_empty_ranges)]
    bench.layer.prefetch(4..2);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.blob.count(), 3);
}

#[tokio::test]
async fn a_waiting_reader_goes_before_the_background() {
    let bench = bench("pax", &unchecked());
    bench.blob.hold();
    let (inode, at) = bench.fixture.place_in(4);
    let reader = tokio::spawn({
        let layer = Arc::clone(&bench.layer);
        async move { read(&layer, inode, at, 10).await }
    });
    while bench.blob.count() == 0 {
        tokio::task::yield_now().await;
    }
    let background = Background::start(
        &bench.cache,
        BackgroundOptions {
            request: 1,
            ..eager()
        },
    );
    background.add(&bench.layer);
    bench.layer.prefetch(0..2);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.blob.count(), 1, "the background did not wait");
    bench.blob.release();
    reader.await.unwrap().unwrap();
    bench.settle().await;
    let table = bench.fixture.spans();
    let order = [4, 0, 1, 2, 3].map(|span| table.compressed(SpanId(span)).unwrap());
    assert_eq!(bench.blob.requests(), order);
}

#[tokio::test]
async fn a_reader_that_gives_up_does_not_hold_the_background() {
    let bench = bench("pax", &unchecked());
    let (inode, at) = bench.fixture.place_in(4);
    let Read::Pending(pending) = bench.layer.read(inode, at, 10) else {
        panic!("span is cold")
    };
    let background = Background::start(&bench.cache, eager());
    background.add(&bench.layer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.blob.count(), 0);
    drop(pending);
    bench.settle().await;
}

#[tokio::test]
async fn a_failing_layer_is_tried_again_until_it_works() {
    let bench = bench("pax", &unchecked());
    bench.blob.play(&[Trick::Fail(SourceFailure::Denied); 5]);
    let background = Background::start(&bench.cache, eager());
    background.add(&bench.layer);
    bench.settle().await;
    assert_eq!(bench.metrics().background_failures.get(), 5);
    assert_eq!(bench.blob.count(), 6);
}

#[tokio::test]
async fn nothing_is_filled_in_the_silence_after_a_mount() {
    let bench = bench("pax", &unchecked());
    let silence_period = Duration::from_secs(3600);
    let options = BackgroundOptions {
        silence_period,
        request: 1,
        ..eager()
    };
    let background = Background::start(&bench.cache, options);
    background.add(&bench.layer);
    bench.layer.prefetch(2..3);
    while bench.blob.count() < 1 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.blob.count(), 1);
}

#[tokio::test]
async fn a_full_queue_drops_as_told() {
    for (drop, filled) in [
        (DropPolicy::Newest, [true, false]),
        (DropPolicy::Oldest, [false, true]),
    ] {
        let bench = bench("pax", &unchecked());
        let other = open_as(
            &bench.cache,
            &bench.fixture,
            &bench.blob,
            &unchecked(),
            &id(8, 9),
        );
        let options = BackgroundOptions {
            queue: 1,
            drop,
            ..eager()
        };
        let background = Background::start(&bench.cache, options);
        background.add(&bench.layer);
        background.add(&other);
        tokio::time::sleep(Duration::from_millis(300)).await;
        let complete = [&bench.layer, &other].map(|layer| layer.progress().complete);
        assert_eq!(complete, filled, "{drop:?}");
        assert_eq!(bench.metrics().background_dropped.get(), 1);
    }
}

#[tokio::test]
async fn an_unmounted_layer_is_not_filled() {
    let bench = bench("pax", &unchecked());
    let other = open_as(
        &bench.cache,
        &bench.fixture,
        &bench.blob,
        &unchecked(),
        &id(8, 9),
    );
    let background = Background::start(&bench.cache, eager());
    background.add(&other);
    drop(other);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.blob.count(), 0);
}

/// There will be so many requests, and no more.
async fn check_requests(bench: &Bench, expected: usize) {
    for _ in 0..1000 {
        if bench.blob.count() >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(bench.blob.count(), expected, "{:?}", bench.blob.requests());
}

#[tokio::test]
async fn the_beginning_of_a_layer_is_there_before_it_is_asked_for() {
    for (enabled, expected) in [(true, 1), (false, 0)] {
        let bench = bench("pax", &unchecked());
        let options = BackgroundOptions {
            enabled,
            first_spans: 1,
            silence_period: Duration::from_secs(60),
            ..eager()
        };
        let background = Background::start(&bench.cache, options);
        background.add(&bench.layer);
        check_requests(&bench, expected).await;
        bench.check_span(0).await;
        assert_eq!(bench.blob.count(), 1, "enabled: {enabled}");
    }
}

#[tokio::test]
async fn a_file_that_is_read_in_order_is_fetched_ahead_and_one_that_is_not_is_not() {
    let options = BackgroundOptions {
        enabled: false,
        ..eager()
    };
    let bench = bench("pax", &unchecked());
    let background = Background::start(&bench.cache, options);
    background.add(&bench.layer);
    let (inode, tar) = bench.fixture.large_file();
    let table = bench.fixture.spans();
    let spans = table.covering(tar.start as u64..tar.end as u64);
    assert!(spans.len() >= 3, "{spans:?}");
    let at = |span| {
        let range: std::ops::Range<u64> = table.uncompressed(SpanId(span)).unwrap();
        range.start.saturating_sub(tar.start as u64)
    };
    let counts = || {
        let metrics = bench.metrics();
        (
            metrics.read_ahead_spans.get(),
            metrics.read_ahead_hits.get(),
        )
    };
    // In the middle of the file: nothing follows.
    bench
        .read(inode, at(spans.start + 1) + 1, 10)
        .await
        .unwrap();
    check_requests(&bench, 1).await;
    assert_eq!(counts(), (0, 0));
    // On into the next span, and what follows that comes by itself, but nothing behind the file's end.
    bench.read(inode, at(spans.start + 2), 10).await.unwrap();
    let ahead = u64::from(spans.start + 3 < spans.end);
    check_requests(&bench, 2 + ahead as usize).await;
    assert_eq!(counts(), (ahead, 0));
    if ahead > 0 {
        bench.read(inode, at(spans.start + 3), 10).await.unwrap();
        assert_eq!(counts().1, 1);
    }
}

#[tokio::test]
async fn a_pause_between_fills_does_not_hold_what_is_read_soon() {
    let bench = bench("pax", &unchecked());
    let options = BackgroundOptions {
        fetch_period: Duration::from_secs(60),
        request: 1,
        ..eager()
    };
    let background = Background::start(&bench.cache, options);
    background.add(&bench.layer);
    // One fill, then the pause.
    check_requests(&bench, 1).await;
    bench.layer.prefetch(2..4);
    check_requests(&bench, 3).await;
}
