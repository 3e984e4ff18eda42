//! Reading parts of a layer: only the right bytes are ever returned.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use harness::{
    Seen, Server, answer, content, digest, options, pieces, registry, repository, serve,
};
use registry::{Error, Registry};

const SIZE: usize = 1000;

/// Reads 100..200 from a host that gives `wrong` to each range request.
async fn check(
    wrong: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static,
) -> (Result<Bytes, Error>, Registry, Server) {
    let server = Server::start(wrong).await;
    let registry = registry(options(), None);
    let blob = repository(&registry, &server.host)
        .ranged(&digest(&content(SIZE)), u64::try_from(SIZE).unwrap());
    (blob.read(100..200).await, registry, server)
}

#[tokio::test]
async fn a_part_of_a_layer_is_read_in_one_request() {
    let (read, registry, server) = check(|seen| serve(seen, &content(SIZE))).await;
    assert_eq!(read.unwrap(), content(SIZE).slice(100..200));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(
        seen[0].path,
        format!("/v2/a/b/blobs/{}", digest(&content(SIZE)))
    );
    assert_eq!(seen[0].range.as_deref(), Some("bytes=100-199"));
    assert_eq!(seen[0].headers["accept-encoding"], "identity");
    let agent = concat!("soci-snapshotter/", env!("CARGO_PKG_VERSION"));
    assert_eq!(seen[0].headers["user-agent"], agent);
    let counts = registry.counters();
    assert_eq!((counts.requests, counts.bytes, counts.retries), (1, 100, 0));
}

#[tokio::test]
async fn a_part_outside_the_layer_is_not_asked_for() {
    let server = Server::start(|seen| serve(seen, &content(SIZE))).await;
    let blob =
        repository(&registry(options(), None), &server.host).ranged(&digest(&content(SIZE)), 1000);
    assert_eq!(blob.read(7..7).await.unwrap(), Bytes::new());
    assert!(matches!(
        blob.read(999..1001).await,
        Err(Error::Range { .. })
    ));
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 9..8;
    assert!(matches!(
        blob.read(reversed).await,
        Err(Error::Range { .. })
    ));
    assert_eq!(server.requests(), 0);
    assert_eq!(blob.read(999..1000).await.unwrap().len(), 1);
    assert_eq!(blob.read(0..1000).await.unwrap(), content(SIZE));
}

#[tokio::test]
async fn a_host_without_ranges_is_found_out_without_reading_the_layer() {
    let server = Server::start(|_| answer(200, &[], content(SIZE))).await;
    let registry = registry(options(), None);
    let blob = repository(&registry, &server.host).ranged(&digest(&content(SIZE)), 1000);
    let probed = blob.probe().await;
    assert!(matches!(probed, Err(Error::NoRanges { .. })), "{probed:?}");
    assert!(!blob.needs_no_probe());
    assert_eq!((server.requests(), registry.counters().bytes), (1, 0));
}

/// A pull-through cache does so with a blob it does not have yet.
#[tokio::test]
async fn a_reader_gets_its_part_also_from_a_whole_answer() {
    let server = Server::start(|seen| match seen.path.contains("/a/") {
        true => serve(seen, &content(SIZE)),
        false => answer(200, &[], content(SIZE)),
    })
    .await;
    let registry = registry(options(), None);
    let known = repository(&registry, &server.host).ranged(&digest(&content(SIZE)), 1000);
    assert!(!known.needs_no_probe());
    assert_eq!(known.probe().await.unwrap(), content(SIZE).slice(..512));
    assert!(known.needs_no_probe());
    let reference = format!("{}/other:1", server.host).parse().unwrap();
    let repository = registry.repository(&reference);
    let blob = repository.ranged(&digest(&content(SIZE)), 1000);
    assert!(blob.needs_no_probe(), "it is the same host");
    assert_eq!(
        blob.read(100..200).await.unwrap(),
        content(SIZE).slice(100..200)
    );
    assert_eq!(blob.read(0..1000).await.unwrap(), content(SIZE));
    assert!(!blob.needs_no_probe(), "the host is believed no more");
    let longer = repository.ranged(&digest(&content(SIZE)), 2000);
    let read = longer.read(100..200).await;
    assert!(matches!(read, Err(Error::NoRanges { .. })), "{read:?}");
}

#[tokio::test]
async fn an_answer_to_another_question_is_refused() {
    let ranges = [
        "bytes 0-99/1000",
        "bytes 100-198/1000",
        "bytes 100-200/1000",
        "bytes 100-199/1001",
        "bytes 100-199/*",
        "bytes */1000",
        "nonsense",
    ];
    for range in ranges {
        let (read, registry, server) = check(move |_| {
            answer(
                206,
                &[("content-range", range)],
                content(SIZE).slice(100..200),
            )
        })
        .await;
        assert!(
            matches!(read, Err(Error::Range { .. })),
            "{range}: {read:?}"
        );
        assert_eq!(
            (server.requests(), registry.counters().bytes),
            (1, 0),
            "{range}"
        );
    }
    let (read, ..) = check(|_| answer(206, &[], content(SIZE).slice(100..200))).await;
    assert!(matches!(read, Err(Error::Range { .. })), "{read:?}");
}

#[tokio::test]
async fn several_parts_or_a_compressed_part_are_refused() {
    let right = ("content-range", "bytes 100-199/1000");
    for wrong in [
        ("content-type", "multipart/byteranges; boundary=x"),
        ("content-encoding", "gzip"),
    ] {
        let (read, ..) =
            check(move |_| answer(206, &[right, wrong], content(SIZE).slice(100..200))).await;
        assert!(
            matches!(read, Err(Error::Range { .. })),
            "{wrong:?}: {read:?}"
        );
    }
}

#[tokio::test]
async fn a_body_of_another_length_is_refused() {
    let right = ("content-range", "bytes 100-199/1000");
    let (read, registry, _) =
        check(move |_| answer(206, &[right], content(SIZE).slice(100..300))).await;
    assert!(matches!(read, Err(Error::Range { .. })), "{read:?}");
    assert_eq!(registry.counters().bytes, 0);

    // Endless, without an announced length: given up at the first byte too many.
    let endless = move |_: &Seen| answer(206, &[right], pieces(vec![content(60); 1000]));
    let (read, registry, server) = check(endless).await;
    assert!(matches!(read, Err(Error::Range { .. })), "{read:?}");
    assert_eq!(server.requests(), 1);
    assert!(registry.counters().bytes < 60_000);

    // Short, without an announced length: repeated like any broken connection.
    let short = move |_: &Seen| answer(206, &[right], pieces(vec![content(99)]));
    let (read, registry, server) = check(short).await;
    assert!(read.unwrap_err().is_transient());
    assert_eq!((server.requests(), registry.counters().retries), (3, 2));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_asked_for_again() {
    let (read, registry, server) = check(|seen| match seen.nth {
        0 => {
            let headers = [
                ("content-range", "bytes 100-199/1000"),
                ("content-length", "100"),
            ];
            answer(
                206,
                &headers,
                pieces(vec![content(SIZE).slice(100..150), Bytes::new()]),
            )
        }
        _ => serve(seen, &content(SIZE)),
    })
    .await;
    assert_eq!(read.unwrap(), content(SIZE).slice(100..200));
    assert_eq!((server.requests(), registry.counters().retries), (2, 1));
}

#[tokio::test]
async fn a_body_that_stops_flowing_is_asked_for_again() {
    let (read, _, server) = check(|seen| match seen.nth {
        0 => {
            use futures_util::StreamExt;
            let first = futures_util::stream::iter([Ok::<_, std::io::Error>(content(10))]);
            let body = axum::body::Body::from_stream(first.chain(futures_util::stream::pending()));
            answer(206, &[("content-range", "bytes 100-199/1000")], body)
        }
        _ => serve(seen, &content(SIZE)),
    })
    .await;
    assert_eq!(read.unwrap(), content(SIZE).slice(100..200));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_asked_again() {
    let (read, _, server) = check(|seen| {
        if seen.nth == 0 {
            None
        } else {
            serve(seen, &content(SIZE))
        }
    })
    .await;
    assert_eq!(read.unwrap().len(), 100);
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn passing_trouble_is_waited_out_and_lasting_trouble_reported() {
    for status in [408, 429, 500, 502, 503, 504] {
        let (read, registry, server) = check(move |seen| match seen.nth {
            0 | 1 => answer(status, &[("retry-after", "0")], ""),
            _ => serve(seen, &content(SIZE)),
        })
        .await;
        assert_eq!(read.unwrap().len(), 100, "{status}");
        assert_eq!(
            (server.requests(), registry.counters().retries),
            (3, 2),
            "{status}"
        );
    }
    for (status, requests) in [(503, 3), (501, 1), (400, 1), (416, 1), (418, 1)] {
        let (read, _, server) = check(move |_| answer(status, &[], "")).await;
        let error = read.unwrap_err();
        assert_eq!(error.is_transient(), status == 503, "{status}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.requests(), requests, "{status}");
    }
    let (read, ..) = check(|_| answer(404, &[], "")).await;
    assert!(read.unwrap_err().is_not_found());
    let (read, _, server) = check(|_| answer(403, &[], "")).await;
    assert!(read.unwrap_err().is_denied());
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn retry_after_is_bounded_by_our_longest_wait() {
    // Would outlast the test, were it obeyed.
    let (read, _, server) = check(|seen| match seen.nth {
        0 => answer(429, &[("retry-after", "86400")], ""),
        1 => answer(503, &[("retry-after", "Fri, 31 Dec 2100 23:59:59 GMT")], ""),
        _ => serve(seen, &content(SIZE)),
    })
    .await;
    assert_eq!(read.unwrap().len(), 100);
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn reads_can_be_given_to_other_threads() {
    let server = Server::start(|seen| serve(seen, &content(SIZE))).await;
    let repository = repository(&registry(options(), None), &server.host);
    let blob = repository.ranged(&digest(&content(SIZE)), 1000);
    let read: BoxFuture<'static, _> = Box::pin(async move { blob.read(0..10).await });
    assert_eq!(tokio::spawn(read).await.unwrap().unwrap(), content(10));
}

/// Hands out 100..200 in answers of at most 30 bytes each, broken off after that.
async fn check_stream(breaks: usize) -> (Result<Bytes, Error>, Server) {
    let server = Server::start(move |seen| {
        let whole = content(SIZE);
        if seen.nth >= breaks {
            return serve(seen, &whole);
        }
        let range = seen.range.as_deref().unwrap();
        let start = range
            .trim_start_matches("bytes=")
            .split_once('-')
            .unwrap()
            .0;
        let start: usize = start.parse().unwrap();
        let content_range = format!("bytes {start}-199/1000");
        let body = pieces(vec![whole.slice(start..start + 30), Bytes::new()]);
        answer(206, &[("content-range", &content_range)], body)
    })
    .await;
    let registry = registry(options(), None);
    let blob = repository(&registry, &server.host).ranged(&digest(&content(SIZE)), 1000);
    let mut stream = blob.stream(100..200);
    let mut bytes = Vec::new();
    let read = loop {
        match stream.next().await {
            Some(Ok(piece)) => bytes.extend_from_slice(&piece),
            Some(Err(error)) => break Err(error),
            None => break Ok(bytes.into()),
        }
    };
    assert!(stream.next().await.is_none());
    (read, server)
}

#[tokio::test]
async fn a_part_that_streams_goes_on_at_the_byte_where_it_broke() {
    let (read, server) = check_stream(0).await;
    assert_eq!(
        (read.unwrap(), server.requests()),
        (content(SIZE).slice(100..200), 1)
    );
    let (read, server) = check_stream(2).await;
    assert_eq!(read.unwrap(), content(SIZE).slice(100..200));
    let ranges: Vec<_> = server
        .seen()
        .into_iter()
        .map(|seen| seen.range.unwrap())
        .collect();
    assert_eq!(ranges, ["bytes=100-199", "bytes=130-199", "bytes=160-199"]);
    let (read, server) = check_stream(100).await;
    assert!(read.unwrap_err().is_transient());
    assert_eq!(server.requests(), 3);
}
