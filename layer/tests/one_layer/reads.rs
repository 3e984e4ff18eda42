//! What reading costs, and what it survives.

use crate::support::*;
use futures_util::future::join_all;
use layer::{Error, Inode, Options, Read, SourceFailure};
use proptest::prelude::*;
use soci::spans::SpanId;
use std::sync::Arc;
use std::time::Duration;

const FIXTURES: [&str; 5] = ["gnu", "multi-2", "pax", "stored", "pax-tar"];

#[tokio::test]
async fn every_file_reads_as_the_tar_has_it() {
    for name in FIXTURES {
        let bench = bench(name, &Options::default());
        bench.check_everything().await;
        bench.check_everything().await;
        assert_eq!(
            bench.metrics().header_verification_failures.get(),
            0,
            "{name}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_piece_of_any_file_reads_as_the_tar_has_it(
        name in prop::sample::select(&FIXTURES),
        pieces in prop::collection::vec((any::<prop::sample::Index>(), 0u64..700_000, 0u32..300_000), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = bench(name, &Options::default());
            let files = bench.fixture.files();
            let reads = pieces.iter().map(|(file, offset, size)| {
                let (inode, tar) = &files[file.index(files.len())];
                let offset = offset % (tar.len() as u64 + 2);
                let bench = &bench;
                async move {
                    let bytes = bench.read(*inode, offset, *size).await.unwrap();
                    assert_eq!(bytes, expected(&bench.fixture, *inode, offset, u64::from(*size)));
                }
            });
            join_all(reads).await;
        });
    }
}

#[tokio::test]
async fn two_readers_of_a_cold_span_make_one_request() {
    check_readers(2).await;
}

#[tokio::test]
async fn many_readers_of_a_cold_span_make_one_request() {
    check_readers(32).await;
    check_readers(1000).await;
}

async fn check_readers(readers: usize) {
    let bench = bench("pax", &unchecked());
    let (inode, at) = bench.fixture.place_in(2);
    let expected = expected(&bench.fixture, inode, at, 100).to_vec();
    bench.blob.hold();
    let tasks: Vec<_> = (0..readers)
        .map(|_| {
            let layer = Arc::clone(&bench.layer);
            tokio::spawn(async move { read(&layer, inode, at, 100).await })
        })
        .collect();
    tokio::task::yield_now().await;
    bench.blob.release();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), expected);
    }
    assert_eq!(bench.blob.count(), 1, "{readers} readers");
    assert_eq!(bench.metrics().spans_inflated.get(), 1);
}

#[tokio::test]
async fn two_layers_of_the_same_bytes_make_one_request() {
    let bench = bench("pax", &unchecked());
    let twin = open(&bench.cache, &bench.fixture, &bench.blob, &unchecked());
    let (inode, at) = bench.fixture.place_in(1);
    let (one, two) = tokio::join!(bench.read(inode, at, 9), read(&twin, inode, at, 9));
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(bench.blob.count(), 1);
}

#[tokio::test]
async fn adjacent_missing_spans_are_one_request() {
    let bench = bench("pax", &unchecked());
    let table = bench.fixture.spans();
    let (inode, tar) = bench.fixture.large_file();
    let spans = table.covering(tar.start as u64..tar.end as u64);
    assert!(spans.len() >= 2, "the fixture has no large file");
    let bytes = bench.read(inode, 0, u32::MAX).await.unwrap();
    assert!(bytes == bench.fixture.tar[tar]);
    let start = table.compressed(SpanId(spans.start)).unwrap().start;
    let end = table.compressed(SpanId(spans.end - 1)).unwrap().end;
    assert_eq!(bench.blob.requests().first(), Some(&(start..end)));
    assert_eq!(bench.blob.count(), 1);
}

#[tokio::test]
async fn only_what_is_missing_is_requested() {
    let bench = bench("pax", &unchecked());
    let (inode, tar) = bench.fixture.large_file();
    let table = bench.fixture.spans();
    let spans = table.covering(tar.start as u64..tar.end as u64);
    assert!(spans.len() >= 3, "the fixture has no large file");
    bench.check_span(spans.start + 1).await;
    bench.read(inode, 0, u32::MAX).await.unwrap();
    let mut expected = vec![table.compressed(SpanId(spans.start + 1)).unwrap()];
    expected.push(table.compressed(SpanId(spans.start)).unwrap());
    let rest = spans.start + 2..spans.end;
    let start = table.compressed(SpanId(rest.start)).unwrap().start;
    expected.push(start..table.compressed(SpanId(rest.end - 1)).unwrap().end);
    let mut found = bench.blob.requests();
    found[1..].sort_by_key(|range| range.start);
    assert_eq!(found, expected);
}

#[tokio::test]
async fn requests_are_as_large_as_allowed() {
    let options = Options {
        max_request: 1,
        ..unchecked()
    };
    let bench = bench("pax", &options);
    let (inode, tar) = bench.fixture.large_file();
    let spans = bench
        .fixture
        .spans()
        .covering(tar.start as u64..tar.end as u64);
    let bytes = bench.read(inode, 0, u32::MAX).await.unwrap();
    assert!(bytes == bench.fixture.tar[tar]);
    assert_eq!(bench.blob.count(), spans.len());
}

#[tokio::test]
async fn a_file_and_its_header_are_one_request() {
    for span in 0..5 {
        let bench = bench("pax", &Options::default());
        let files = bench.fixture.files();
        let toc = bench.fixture.toc();
        let table = bench.fixture.spans();
        // Spans of the first byte and of the header, when they are neighbours or the same.
        let found = files.iter().find(|(inode, tar)| {
            let entry = toc.entry(soci::toc::EntryId((inode.0 - 2) as u32)).unwrap();
            let first = table.covering(tar.start as u64..tar.start as u64 + 1).start;
            first == span && table.covering(entry.header_offset()..entry.offset()).end >= first
        });
        let Some((inode, _)) = found else { continue };
        bench.read(*inode, 0, 1).await.unwrap();
        assert_eq!(bench.blob.count(), 1);
    }
}

#[tokio::test]
async fn a_resident_span_is_answered_at_once() {
    let bench = bench("pax", &Options::default());
    bench.check_everything().await;
    bench.settle().await;
    let (inode, _) = bench.fixture.large_file();
    assert!(matches!(bench.layer.read(inode, 0, 4096), Read::Ready(_)));
    // And in memory, before the disk has it: the state right after a miss.
    assert_eq!(
        bench.metrics().spans_inflated.get(),
        u64::from(bench.fixture.spans().len())
    );
}

#[tokio::test]
async fn odd_reads_are_answered() {
    let bench = bench("pax", &unchecked());
    let (inode, tar) = bench.fixture.large_file();
    let size = tar.len() as u64;
    for (offset, len) in [(0, 0), (size, 1), (size + 1, 1), (u64::MAX, u32::MAX)] {
        assert!(
            bench.read(inode, offset, len).await.unwrap().is_empty(),
            "{offset} {len}"
        );
    }
    assert_eq!(bench.blob.count(), 0);
    assert!(matches!(
        bench.read(Inode::ROOT, 0, 1).await,
        Err(Error::NotAFile { .. })
    ));
    for inode in [0, u64::MAX, 1 << 32] {
        let result = bench.read(Inode(inode), 0, 1).await;
        assert!(
            matches!(result, Err(Error::NoEntry { .. })),
            "inode {inode}"
        );
    }
}

#[tokio::test]
async fn a_corrupt_span_is_never_served() {
    let bench = bench("pax", &unchecked());
    let (inode, at) = bench.fixture.place_in(1);
    bench.blob.play(&[Trick::FlipBit]);
    assert!(matches!(
        bench.read(inode, at, 10).await,
        Err(Error::Corrupt { .. })
    ));
    assert_eq!(bench.metrics().span_verification_failures.get(), 1);
    assert_eq!(bench.layer.progress().resident, 0);
    bench.check_span(1).await;
    assert_eq!(bench.blob.count(), 2);
}

#[tokio::test]
async fn a_corrupt_span_is_fetched_again_as_often_as_told() {
    for (retries, corruptions, served) in [(0, 1, false), (1, 1, true), (2, 3, false), (3, 3, true)]
    {
        let options = Options {
            max_span_verification_retries: retries,
            ..unchecked()
        };
        let bench = bench("pax", &options);
        let (inode, at) = bench.fixture.place_in(1);
        bench.blob.play(&vec![Trick::FlipBit; corruptions]);
        let result = bench.read(inode, at, 10).await;
        match result {
            Ok(bytes) if served => assert_eq!(bytes, expected(&bench.fixture, inode, at, 10)),
            Err(Error::Corrupt { .. }) if !served => {}
            other => panic!("{retries} retries, {corruptions} corruptions: {other:?}"),
        }
        assert_eq!(bench.blob.count(), 1 + corruptions.min(retries as usize));
    }
}

#[tokio::test]
async fn a_failing_source_does_not_poison_a_span() {
    use SourceFailure::{Denied, NotFound, Refused, Transient};
    let kinds = [Transient, Denied, NotFound, Refused];
    let tricks = kinds
        .map(Trick::Fail)
        .into_iter()
        .chain([Trick::Truncate, Trick::Extend]);
    for trick in tricks {
        let bench = bench("pax", &unchecked());
        let (inode, at) = bench.fixture.place_in(1);
        bench.blob.play(&[trick]);
        let error = bench.read(inode, at, 10).await.unwrap_err();
        let fits = match trick {
            Trick::Fail(Denied) => matches!(error, Error::Denied { .. }),
            Trick::Fail(NotFound) => matches!(error, Error::Missing { .. }),
            Trick::Fail(Refused) => matches!(error, Error::Refused { .. }),
            _ => matches!(error, Error::Unreachable { .. }) && error.is_transient(),
        };
        assert!(fits, "{trick:?}: {error}");
        assert!(error.to_string().contains("example.org/image"));
        bench.check_span(1).await;
    }
}

#[tokio::test]
async fn readers_wait_out_an_outage_but_not_a_refusal() {
    let patient = Options {
        outage: Duration::from_secs(60),
        ..unchecked()
    };
    let bench = bench("pax", &patient);
    let (inode, at) = bench.fixture.place_in(1);
    let away = Trick::Fail(SourceFailure::Transient);
    bench.blob.play(&[away, away, Trick::Truncate]);
    let results = join_all((0..8).map(|_| bench.read(inode, at, 10))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(bench.blob.count(), 4);

    let (inode, at) = bench.fixture.place_in(2);
    bench.blob.play(&[Trick::Fail(SourceFailure::Denied)]);
    assert!(bench.read(inode, at, 10).await.is_err());
    assert_eq!(bench.blob.count(), 5);
}

#[tokio::test]
async fn all_waiters_share_a_failure() {
    let bench = bench("pax", &unchecked());
    let (inode, at) = bench.fixture.place_in(1);
    bench.blob.play(&[Trick::Fail(SourceFailure::Transient)]);
    let results = join_all((0..32).map(|_| bench.read(inode, at, 10))).await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(bench.blob.count(), 1);
}

#[tokio::test]
async fn a_reader_that_goes_away_strands_nobody() {
    let bench = bench("pax", &unchecked());
    let (inode, at) = bench.fixture.place_in(1);
    bench.blob.hold();
    let first = tokio::spawn({
        let layer = Arc::clone(&bench.layer);
        async move { read(&layer, inode, at, 10).await }
    });
    while bench.blob.count() == 0 {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn({
        let layer = Arc::clone(&bench.layer);
        async move { read(&layer, inode, at, 10).await }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    bench.blob.release();
    assert_eq!(
        second.await.unwrap().unwrap(),
        expected(&bench.fixture, inode, at, 10)
    );
    assert_eq!(bench.blob.count(), 1);
}

#[tokio::test]
async fn a_span_whose_only_reader_goes_away_is_kept() {
    let bench = bench("pax", &unchecked());
    let (inode, at) = bench.fixture.place_in(1);
    let Read::Pending(pending) = bench.layer.read(inode, at, 10) else {
        panic!("span is cold")
    };
    bench.blob.hold();
    let reader = tokio::spawn(pending);
    while bench.blob.count() == 0 {
        tokio::task::yield_now().await;
    }
    reader.abort();
    bench.blob.release();
    settle(&bench.layer, 1).await;
    assert!(matches!(bench.layer.read(inode, at, 10), Read::Ready(_)));
}

#[tokio::test]
async fn a_file_that_is_not_what_the_index_says_is_not_served() {
    use soci::toc::{Member, TocBuilder};
    let bench = bench("pax", &unchecked());
    let ztoc = bench.fixture.parse();
    let (inode, at) = bench.fixture.place_in(1);
    for lie in [false, true] {
        let mut toc = TocBuilder::new(&soci::ztoc::Limits::default());
        for (_, entry) in ztoc.toc.iter() {
            let xattrs: Vec<_> = entry.xattrs().collect();
            let member = Member {
                name: entry.name(),
                linkname: entry.linkname(),
                kind: entry.kind(),
                mode: entry.mode() | if lie { 0o4000 } else { 0 },
                uid: entry.uid(),
                gid: entry.gid(),
                mtime: entry.mtime(),
                device: entry.device(),
                size: entry.size(),
                offset: entry.offset(),
                xattrs: &xattrs,
            };
            toc.push(&member).unwrap();
        }
        let toc = toc.finish(ztoc.spans.uncompressed_size()).unwrap();
        let layer = layer::Layer::open(
            &bench.cache,
            id(1, 2),
            toc,
            ztoc.spans.clone(),
            std::fs::File::open(&bench.fixture.ztoc).unwrap(),
            Arc::new(Shared(Arc::clone(&bench.blob))),
            &Options::default(),
        )
        .unwrap();
        // Twice: a refusal is not forgotten, and not remembered as a success.
        for _ in 0..2 {
            let result = read(&layer, inode, at, 10).await;
            match result {
                Err(Error::Corrupt { .. }) if lie => {}
                Ok(bytes) if !lie => assert_eq!(bytes, expected(&bench.fixture, inode, at, 10)),
                other => panic!("lie {lie}: {other:?}"),
            }
        }
    }
}
