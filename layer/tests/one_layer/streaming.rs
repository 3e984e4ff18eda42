//! Bytes are used as they arrive, not when all of them are here.

use crate::support::*;
use soci::spans::SpanId;
use std::sync::Arc;
use std::time::Duration;

#[tokio::test]
async fn a_reader_is_answered_while_the_rest_of_the_request_still_travels() {
    let bench = bench("pax", &unchecked());
    let table = bench.fixture.spans();
    let (inode, tar) = bench.fixture.large_file();
    let spans = table.covering(tar.start as u64..tar.end as u64);
    assert!(spans.len() >= 2, "the fixture has no large file");
    let first = table.compressed(SpanId(spans.start)).unwrap();
    bench.blob.hold_after(first.end - first.start);
    let layer = Arc::clone(&bench.layer);
    let whole = tokio::spawn(async move { read(&layer, inode, 0, u32::MAX).await });
    until(&bench, 1).await;
    let bytes = tokio::time::timeout(Duration::from_secs(60), bench.read(inode, 0, 100));
    let bytes = bytes.await.expect("waited for the rest").unwrap();
    assert_eq!(bytes, expected(&bench.fixture, inode, 0, 100));
    assert!(!whole.is_finished(), "the rest is held");
    bench.blob.release();
    assert_eq!(whole.await.unwrap().unwrap(), bench.fixture.tar[tar]);
    assert_eq!(bench.blob.count(), 1);
}
