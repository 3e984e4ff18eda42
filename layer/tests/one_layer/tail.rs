//! A reader's request brings what follows, as far as the link would idle without it; not while a known start is under way.

use crate::support::*;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use layer::{Background, BackgroundOptions, Layer, Source, SourceError};
use soci::spans::SpanId;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// A blob far away: an answer begins late, and then comes in two pieces.
struct Far(Shared);

const ROUND_TRIP: Duration = Duration::from_millis(60);
const BETWEEN_PIECES: Duration = Duration::from_millis(15);

impl Source for Far {
    fn read(&self, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, SourceError>> {
        self.0.read(range)
    }

    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, SourceError>> {
        let whole = self.read(range);
        let pieces = async move {
            let mut first = whole.await.unwrap();
            let second = first.split_off(first.len() / 2);
            let first = async move {
                tokio::time::sleep(ROUND_TRIP).await;
                Ok(first)
            };
            let second = async move {
                tokio::time::sleep(BETWEEN_PIECES).await;
                Ok(second)
            };
            stream::once(first).chain(stream::once(second))
        };
        Box::pin(stream::once(pieces).flatten())
    }
}

/// What is asked for by reads in spans 2 and 3, over a link that is known from a read in span 0.
async fn check(foreseen: bool) -> (Vec<Range<u64>>, [Range<u64>; 2]) {
    let bench = bench("pax", &unchecked());
    let ztoc = bench.fixture.parse();
    let far = Layer::open(
        &bench.cache,
        id(3, 4),
        ztoc.toc,
        ztoc.spans,
        File::open(&bench.fixture.ztoc).unwrap(),
        Arc::new(Far(Shared(Arc::clone(&bench.blob)))),
        &unchecked(),
    )
    .unwrap();
    let background = Background::start(&bench.cache, BackgroundOptions::default());
    let read_in = async |span| {
        let (inode, at) = bench.fixture.place_in(span);
        read(&far, inode, at, 1).await.unwrap();
    };
    read_in(0).await;
    assert_eq!(
        bench.blob.count(),
        1,
        "of an unknown link nothing is guessed"
    );
    if foreseen {
        background.prefetch_reads(&far, []);
    }
    read_in(2).await;
    read_in(3).await;
    let table = bench.fixture.spans();
    let spans = [2, 3].map(|span| table.compressed(SpanId(span)).unwrap());
    (bench.blob.requests().split_off(1), spans)
}

#[tokio::test]
async fn what_follows_comes_with_what_was_asked_for() {
    let (requests, [first, second]) = check(false).await;
    let [request] = requests.as_slice() else {
        panic!("{requests:?}")
    };
    assert_eq!(request.start, first.start);
    assert!(request.end >= second.end, "{request:?}");
}

#[tokio::test]
async fn nothing_is_guessed_while_a_known_start_is_under_way() {
    let (requests, spans) = check(true).await;
    assert_eq!(requests, spans);
}
