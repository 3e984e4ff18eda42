//! Manifests, blobs and streams: whole, bounded, and what their digest says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use axum::response::Response;
use bytes::{Bytes, BytesMut};
use harness::{
    Seen, Server, answer, content, digest, options, pieces, redirect, registry, repository, serve,
};
use registry::{Error, Manifest};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

async fn manifest(
    body: &'static str,
    answer: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static,
) -> (Result<Manifest, Error>, Server) {
    let server = Server::start(answer).await;
    let repository = repository(&registry(options(), None), &server.host);
    (repository.manifest(&digest(body.as_bytes())).await, server)
}

/// Reads a stream to its end or first error.
async fn check(
    answer: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static,
) -> (Bytes, Option<Error>, Server) {
    let server = Server::start(answer).await;
    let repository = repository(&registry(options(), None), &server.host);
    let mut stream = repository.stream(&digest(&content(1000))).await.unwrap();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => {
                assert!(stream.next().await.is_none());
                return (bytes.freeze(), Some(error), server);
            }
        }
    }
    (bytes.freeze(), None, server)
}

#[tokio::test]
async fn a_manifest_is_asked_for_in_all_its_types() {
    let body = r#"{"schemaVersion":2}"#;
    let answers = move |_: &Seen| answer(200, &[("content-type", "Application/X; a=b")], body);
    let (manifest, server) = manifest(body, answers).await;
    let manifest = manifest.unwrap();
    assert_eq!(
        (manifest.media_type.as_str(), &manifest.bytes[..]),
        ("application/x", body.as_bytes())
    );
    let seen = &server.seen()[0];
    assert_eq!(
        seen.path,
        format!("/v2/a/b/manifests/{}", digest(body.as_bytes()))
    );
    let accept = seen.headers["accept"].to_str().unwrap();
    for media_type in [
        OCI,
        "image.index.v1",
        "docker.distribution.manifest.v2",
        "manifest.list.v2",
    ] {
        assert!(accept.contains(media_type), "{accept}");
    }
}

#[tokio::test]
async fn a_manifest_knows_its_type_better_than_the_host() {
    let body = r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    let (manifest, _) = manifest(body, move |_| {
        answer(200, &[("content-type", "text/plain")], body)
    })
    .await;
    assert_eq!(manifest.unwrap().media_type, OCI);
}

#[tokio::test]
async fn a_manifest_that_is_not_what_its_digest_says_is_refused() {
    let (manifest, server) = manifest("{}", |_| answer(200, &[("content-type", OCI)], "{ }")).await;
    let error = manifest.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert!(
        error.to_string().contains(digest(b"{}").as_ref()),
        "{error}"
    );
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_oversized_manifest_is_not_taken_in() {
    let (small, limit) = (4 << 20, 4_194_304);
    let (manifest_, _) = manifest("", move |_| answer(200, &[], content(small + 1))).await;
    assert!(matches!(manifest_, Err(Error::TooLarge { limit: l, .. }) if l == limit));
    let endless = |_: &Seen| answer(200, &[], pieces(vec![content(1 << 20); 100]));
    let (manifest_, _) = manifest("", endless).await;
    assert!(matches!(manifest_, Err(Error::TooLarge { limit: l, .. }) if l == limit));
}

#[tokio::test]
async fn a_blob_is_whole_and_verified_or_refused() {
    let data = content(1000);
    let server = Server::start(|seen| serve(seen, &content(1000))).await;
    let registry = registry(options(), None);
    let repository = repository(&registry, &server.host);
    assert_eq!(repository.blob(&digest(&data), 1000).await.unwrap(), data);
    let before = registry.counters().bytes;
    let error = repository.blob(&digest(&data), 999).await.unwrap_err();
    assert!(
        matches!(error, Error::TooLarge { limit: 999, .. }),
        "{error}"
    );
    assert_eq!(registry.counters().bytes, before);
    let error = repository.blob(&digest(b"other"), 1000).await.unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    let unknown = "md5:900150983cd24fb0d6963f7d28e17f72".parse().unwrap();
    let error = repository.blob(&unknown, 1000).await.unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}

#[tokio::test]
async fn a_stream_arrives_whole() {
    let (bytes, error, server) = check(|seen| serve(seen, &content(1000))).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(bytes, content(1000));
    assert_eq!(server.requests(), 1);
    let unknown_size = |_: &Seen| answer(200, &[], pieces(vec![content(1000)]));
    assert_eq!(check(unknown_size).await.0, content(1000));
}

#[tokio::test]
async fn a_stream_goes_on_where_its_connection_broke() {
    let (bytes, error, server) = check(|seen| match seen.nth {
        0 => {
            let first = vec![content(1000).slice(..400), Bytes::new()];
            answer(200, &[("content-length", "1000")], pieces(first))
        }
        1 => {
            let second = vec![content(1000).slice(400..700), Bytes::new()];
            let headers = [
                ("content-range", "bytes 400-999/1000"),
                ("content-length", "600"),
            ];
            answer(206, &headers, pieces(second))
        }
        _ => serve(seen, &content(1000)),
    })
    .await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(bytes, content(1000));
    let ranges: Vec<_> = server.seen().into_iter().map(|seen| seen.range).collect();
    let expected = [
        None,
        Some("bytes=400-999".to_owned()),
        Some("bytes=700-999".to_owned()),
    ];
    assert_eq!(ranges, expected);
}

#[tokio::test]
async fn a_stream_is_not_glued_together_from_unfitting_parts() {
    let (bytes, error, server) = check(|seen| match seen.nth {
        0 => {
            let first = vec![content(1000).slice(..400), Bytes::new()];
            answer(200, &[("content-length", "1000")], pieces(first))
        }
        // From the beginning again, as hosts without ranges do.
        _ => answer(200, &[], content(1000)),
    })
    .await;
    assert!(error.unwrap().is_transient());
    assert_eq!(bytes, content(400));
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_stream_that_keeps_breaking_ends() {
    let (bytes, error, server) = check(|seen| {
        let start = seen.range.as_ref().map_or(0, |range| {
            range["bytes=".len()..range.find('-').unwrap()]
                .parse()
                .unwrap()
        });
        let body = pieces(vec![content(1000).slice(start..start + 10), Bytes::new()]);
        let length = (1000 - start).to_string();
        match start {
            0 => answer(200, &[("content-length", "1000")], body),
            _ => {
                let range = format!("bytes {start}-999/1000");
                answer(
                    206,
                    &[("content-range", &range), ("content-length", &length)],
                    body,
                )
            }
        }
    })
    .await;
    assert!(error.unwrap().is_transient());
    assert_eq!(bytes, content(1000).slice(..30));
    assert_eq!(server.requests(), 3);
}

#[tokio::test]
async fn a_stream_follows_redirects() {
    let cdn = Server::start(|seen| serve(seen, &content(1000))).await;
    let to = cdn.url("/data?sig=1");
    let (bytes, error, _) = check(move |_| redirect(&to)).await;
    assert!(error.is_none(), "{error:?}");
    assert_eq!(bytes, content(1000));
}
