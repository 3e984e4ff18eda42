//! Uploads that break off, meet a busy or a limited registry, or run out of content.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use bytes::Bytes;
use futures_util::StreamExt;
use harness::accepting::{Accepting, Faults, body};
use harness::pushing::{LARGE, MIB, SMALL, check, push};
use harness::{content, digest, options, registry, repository};
use registry::{Error, Options, Pushed};

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_stopped() {
    let faults = Faults {
        cuts: [3 * MIB].into(),
        ..Faults::default()
    };
    let expected = [
        "HEAD blobs",
        "POST uploads",
        "PATCH uploads",
        "HEAD blobs",
        "GET uploads",
        "PATCH uploads",
        "PUT uploads",
    ];
    let (server, registry) = check(faults, 8 * MIB, &expected).await;
    server.with(|state| {
        let patch = &state.seen[5];
        assert_eq!(
            patch.range.as_deref(),
            Some(&*format!("{}-{}", 3 * MIB, 8 * MIB - 1))
        );
        assert_eq!(state.received[5], 5 * MIB);
    });
    assert_eq!(registry.counters().retries, 1);
}

#[tokio::test]
async fn a_long_upload_may_break_more_often_than_a_request() {
    let faults = Faults {
        cuts: [2 * MIB; 7].into(),
        ..Faults::default()
    };
    assert!(7 > 2 * options().max_retries);
    let (server, registry) = (Accepting::start(faults).await, registry(options(), None));
    let blob = content(16 * MIB);
    let pushed = push(&registry, &server.host, &blob, None).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{:?}", server.requests());
    assert!(server.blob(&blob).unwrap() == blob);
}

#[tokio::test]
async fn one_that_makes_no_progress_is_given_up() {
    let faults = Faults {
        cuts: [2 * MIB; 100].into(),
        forgets: true,
        ..Faults::default()
    };
    let (server, registry) = (Accepting::start(faults).await, registry(options(), None));
    let error = push(&registry, &server.host, &content(5 * MIB), None)
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(registry.counters().retries, 2);
}

#[tokio::test]
async fn an_upload_the_registry_lost_or_garbled_starts_anew() {
    let lost = Faults {
        cuts: [3 * MIB].into(),
        forgets: true,
        ..Faults::default()
    };
    let expected = [
        "HEAD blobs",
        "POST uploads",
        "PATCH uploads",
        "HEAD blobs",
        "GET uploads",
        "POST uploads",
        "PATCH uploads",
        "PUT uploads",
    ];
    check(lost, 5 * MIB, &expected).await;
    let garbled = Faults {
        cuts: [3 * MIB].into(),
        garbles: true,
        ..Faults::default()
    };
    let expected = [
        "HEAD blobs",
        "POST uploads",
        "PATCH uploads",
        "HEAD blobs",
        "GET uploads",
        "PATCH uploads",
        "PUT uploads",
        "POST uploads",
        "PATCH uploads",
        "PUT uploads",
    ];
    check(garbled, 5 * MIB, &expected).await;
    let small = Faults {
        cuts: [500].into(),
        ..Faults::default()
    };
    check(small, 1000, &[SMALL, SMALL].concat()).await;
}

#[tokio::test]
async fn a_registry_that_takes_no_parts_gets_the_whole() {
    let faults = Faults {
        without_patch: true,
        ..Faults::default()
    };
    let expected = [
        "HEAD blobs",
        "POST uploads",
        "PATCH uploads",
        "POST uploads",
        "PUT uploads",
    ];
    let (server, _) = check(faults, 5 * MIB, &expected).await;
    assert_eq!(server.with(|state| state.received[4]), 5 * MIB);
}

#[tokio::test]
async fn a_busy_registry_is_waited_for() {
    for (method, status) in [("HEAD", 503), ("POST", 429), ("PUT", 502)] {
        let faults = Faults {
            refusals: [(method, status)].into(),
            ..Faults::default()
        };
        let (server, registry) = (Accepting::start(faults).await, registry(options(), None));
        let pushed = push(&registry, &server.host, &content(1000), None).await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded, "{method}");
        assert_eq!(registry.counters().retries, 1, "{method}");
    }
    let faults = Faults {
        refusals: [("PATCH", 429)].into(),
        ..Faults::default()
    };
    let expected = [&LARGE[..3], &["HEAD blobs", "GET uploads"], &LARGE[1..]].concat();
    check(faults, 5 * MIB, &expected).await;
}

#[tokio::test]
async fn an_upload_whose_last_answer_was_lost_is_not_repeated() {
    let faults = Faults {
        loses_answer: true,
        ..Faults::default()
    };
    let (_, registry) = check(faults, 1000, &[&SMALL[..], &["HEAD blobs"]].concat()).await;
    assert_eq!(registry.counters().uploaded_bytes, 1000);
}

#[tokio::test]
async fn content_that_cannot_be_had_ends_the_push_with_its_own_reason() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    let blob = content(1000);
    let repository = repository(&registry, &server.host);
    let name = digest(&blob);
    let push = repository.push_blob(&name, 1000, None, |_| {
        let pieces = [
            Ok(content(10)),
            Err(std::io::Error::other("the disk is gone")),
        ];
        futures_util::stream::iter(pieces).boxed()
    });
    let error = push.await.unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    let push = repository.push_blob(&name, 1001, None, body(&blob));
    let error = push.await.unwrap_err();
    assert!(
        error.to_string().contains("ends after 1000 of 1001 bytes"),
        "{error}"
    );
    assert_eq!(registry.counters().retries, 0);
    assert!(server.with(|state| state.blobs.is_empty()));
}

/// Longer than a request may take, but moving.
#[tokio::test]
async fn an_upload_takes_as_long_as_it_moves_and_no_longer() {
    let hurried = Options {
        request_timeout: std::time::Duration::from_millis(300),
        max_retries: 0,
        ..options()
    };
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(hurried, None),
    );
    let blob = content(1000);
    let slow = |blob: Bytes, pause: u64| {
        move |_| {
            let pieces = futures_util::stream::iter(0..10).then({
                let blob = blob.clone();
                move |n| {
                    let piece = blob.slice(n * 100..(n + 1) * 100);
                    async move {
                        tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
                        Ok(piece)
                    }
                }
            });
            pieces.boxed()
        }
    };
    let repository = repository(&registry, &server.host);
    let name = digest(&blob);
    let pushed = repository.push_blob(&name, 1000, None, slow(blob.clone(), 100));
    assert_eq!(pushed.await.unwrap(), Pushed::Uploaded);
    let another = blob.slice(1..1000);
    let name = digest(&another);
    let stalled = repository.push_blob(&name, 999, None, slow(blob.clone(), 5000));
    let error = stalled.await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }), "{error}");
}
