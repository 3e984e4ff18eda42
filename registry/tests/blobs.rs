//! Pushing blobs: once, past every obstacle, and with no more rights than needed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use axum::response::Response;
use harness::accepting::{Accepting, Auth, Faults, Mount, body};
use harness::pushing::{LARGE, MIB, SMALL, check, push};
use harness::{Server, answer, content, digest, mirrored, options, password, registry, repository};
use registry::{Error, Pushed};

#[tokio::test]
async fn a_small_blob_takes_one_upload_request() {
    let (server, registry) = check(Faults::default(), 1000, &SMALL).await;
    assert_eq!(server.with(|state| state.received.clone()), [0, 0, 1000]);
    let counts = registry.counters();
    assert_eq!(
        (counts.uploaded_bytes, counts.pushes, counts.mounts),
        (1000, 1, 0)
    );
    check(Faults::default(), 0, &SMALL).await;
}

#[tokio::test]
async fn a_large_blob_is_one_stream_of_known_length() {
    let (server, _) = check(Faults::default(), 5 * MIB, &LARGE).await;
    server.with(|state| {
        let patch = &state.seen[2];
        assert_eq!(patch.headers["content-length"], (5 * MIB).to_string());
        assert!(!patch.headers.contains_key("transfer-encoding"));
        assert_eq!(patch.range, None);
        assert_eq!(state.received, [0, 0, 5 * MIB, 0]);
    });
}

#[tokio::test]
async fn a_second_push_uploads_nothing() {
    for size in [1000, 5 * MIB] {
        let (server, registry) = (
            Accepting::start(Faults::default()).await,
            registry(options(), None),
        );
        let blob = content(size);
        push(&registry, &server.host, &blob, None).await.unwrap();
        let (before, requests) = (registry.counters(), server.requests().len());
        let again = push(&registry, &server.host, &blob, None).await.unwrap();
        assert_eq!(again, Pushed::Present);
        let after = registry.counters();
        assert_eq!(after.uploaded_bytes, before.uploaded_bytes);
        assert_eq!(after.pushes, before.pushes);
        assert_eq!(server.requests()[requests..], ["HEAD blobs"]);
        assert_eq!(
            server.with(|state| state.received[requests..].to_vec()),
            [0]
        );
        let size = u64::try_from(size).unwrap();
        let has = |bytes: &[u8]| {
            let (repository, digest) = (repository(&registry, &server.host), digest(bytes));
            async move { repository.has_blob(&digest).await.unwrap() }
        };
        assert_eq!(has(&blob).await, Some(size));
        assert_eq!(has(b"another").await, None);
    }
}

#[tokio::test]
async fn an_upload_may_be_placed_by_path_alone() {
    check(
        Faults {
            relative: true,
            ..Faults::default()
        },
        1000,
        &SMALL,
    )
    .await;
    check(
        Faults {
            relative: true,
            ..Faults::default()
        },
        5 * MIB,
        &LARGE,
    )
    .await;
}

#[tokio::test]
async fn another_host_gets_the_content_but_no_token() {
    let auth = Some(Auth { grant: |_| true });
    let origin = Accepting::start(Faults {
        auth,
        ..Faults::default()
    })
    .await;
    let storage = origin.another_port().await;
    origin.with(|state| state.faults.upload_host = Some(storage.host.clone()));
    let registry = registry(options(), password());
    for size in [1000, 5 * MIB] {
        let pushed = push(&registry, &origin.host, &content(size), None).await;
        assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    }
    origin.with(|state| {
        let is_there = |seen: &&harness::Seen| seen.headers["host"] == storage.host.as_str();
        let there: Vec<_> = state.seen.iter().filter(is_there).collect();
        assert_eq!(there.len(), 3);
        assert!(
            there.iter().all(|seen| seen.authorization.is_none()),
            "{there:?}"
        );
    });
}

#[tokio::test]
async fn uploads_are_not_led_to_local_services_or_off_tls() {
    for location in [
        "http://169.254.169.254/x?s=canary",
        "ftp://127.0.0.1/x",
        "http://u:canary@127.0.0.1/",
    ] {
        let server = Server::start(move |seen| match seen.method.as_str() {
            "POST" => answer(202, &[("location", location)], ""),
            _ => answer(404, &[], ""),
        })
        .await;
        let registry = registry(options(), None);
        let error = push(&registry, &server.host, &content(10), None)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{error}");
        assert!(
            !format!("{error} {error:?}").contains("canary"),
            "{error:?}"
        );
        assert_eq!(registry.counters().uploaded_bytes, 0);
    }
}

#[tokio::test]
async fn a_redirected_upload_is_sent_again_where_it_belongs() {
    let target = Accepting::start(Faults::default()).await;
    let to = target.host.clone();
    let server = Server::start(move |seen| {
        let query = if seen.query.is_empty() {
            String::new()
        } else {
            format!("?{}", seen.query)
        };
        answer(
            308,
            &[("location", &format!("http://{to}{}{query}", seen.path))],
            "",
        )
    })
    .await;
    let registry = registry(options(), None);
    let pushed = push(&registry, &server.host, &content(1000), None).await;
    assert_eq!(pushed.unwrap(), Pushed::Uploaded);
    let server = Server::start(|seen| match seen.method.as_str() {
        "POST" => answer(302, &[("location", "/login")], ""),
        _ => answer(404, &[], ""),
    })
    .await;
    let error = push(&registry, &server.host, &content(10), None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
}

#[tokio::test]
async fn one_token_serves_a_push_from_its_first_request() {
    let auth = Some(Auth { grant: |_| true });
    let server = Accepting::start(Faults {
        auth,
        ..Faults::default()
    })
    .await;
    let registry = registry(options(), password());
    push(&registry, &server.host, &content(1000), None)
        .await
        .unwrap();
    let expected = [&["HEAD blobs", "GET token"][..], &SMALL].concat();
    assert_eq!(server.requests(), expected);
    let query = server.with(|state| state.seen[1].query.clone());
    assert!(
        query.contains("scope=repository%3Aa%2Fb%3Apull%2Cpush&"),
        "{query}"
    );
    // Reading asks for less, and does not disturb what pushing was given.
    repository(&registry, &server.host)
        .has_blob(&digest(b"x"))
        .await
        .unwrap();
    let query = server.with(|state| state.seen[6].query.clone());
    assert!(
        query.contains("scope=repository%3Aa%2Fb%3Apull&"),
        "{query}"
    );
    push(&registry, &server.host, &content(2000), None)
        .await
        .unwrap();
    assert_eq!(registry.counters().token_requests, 2);
}

#[tokio::test]
async fn without_the_right_to_push_nothing_is_sent() {
    let auth = Some(Auth {
        grant: |scope| !scope.contains("push"),
    });
    let server = Accepting::start(Faults {
        auth,
        ..Faults::default()
    })
    .await;
    let registry = registry(options(), password());
    let error = push(&registry, &server.host, &content(1000), None)
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    assert_eq!(registry.counters().uploaded_bytes, 0);
    assert_eq!(registry.counters().retries, 0);
}

async fn check_mount(faults: Faults, expected: Pushed, mounts: u64) -> Accepting {
    let (server, registry) = (
        Accepting::start(faults).await,
        registry(options(), password()),
    );
    let blob = content(5 * MIB);
    let key = ("base/image".to_owned(), digest(&blob).to_string());
    server.with(|state| state.blobs.insert(key, blob.clone()));
    let pushed = push(&registry, &server.host, &blob, Some("base/image"))
        .await
        .unwrap();
    assert_eq!(pushed, expected, "{:?}", server.requests());
    assert!(server.blob(&blob).unwrap() == blob);
    assert_eq!(registry.counters().mounts, mounts);
    let bytes = if expected == Pushed::Mounted {
        0
    } else {
        5 * MIB
    };
    assert_eq!(
        registry.counters().uploaded_bytes,
        u64::try_from(bytes).unwrap()
    );
    server
}

#[tokio::test]
async fn a_blob_of_a_neighbour_is_mounted() {
    let server = check_mount(Faults::default(), Pushed::Mounted, 1).await;
    assert_eq!(server.requests(), ["HEAD blobs", "POST uploads"]);
    // A registry may prefer an upload, or know no mounts.
    let upload = Faults {
        mounts: Mount::Upload,
        ..Faults::default()
    };
    let server = check_mount(upload, Pushed::Uploaded, 0).await;
    assert_eq!(server.requests(), LARGE);
    let refused = Faults {
        mounts: Mount::Refused,
        ..Faults::default()
    };
    let server = check_mount(refused, Pushed::Uploaded, 0).await;
    let expected = [
        "HEAD blobs",
        "POST uploads",
        "POST uploads",
        "PATCH uploads",
        "PUT uploads",
    ];
    assert_eq!(server.requests(), expected);
}

#[tokio::test]
async fn mounting_asks_for_the_right_to_read_the_neighbour() {
    let auth = Some(Auth { grant: |_| true });
    let server = check_mount(
        Faults {
            auth,
            ..Faults::default()
        },
        Pushed::Mounted,
        1,
    )
    .await;
    server.with(|state| {
        let mut tokens = state.seen.iter().filter(|seen| seen.path == "/token");
        let last = tokens.next_back().unwrap();
        assert!(
            last.query.contains("repository%3Aa%2Fb%3Apull%2Cpush"),
            "{last:?}"
        );
        assert!(
            last.query.contains("repository%3Abase%2Fimage%3Apull"),
            "{last:?}"
        );
    });
}

#[tokio::test]
async fn pushes_do_not_go_to_mirrors() {
    let mirror = Server::start(|_| -> Option<Response> { answer(200, &[], "") }).await;
    let origin = Accepting::start(Faults::default()).await;
    let registry = registry(mirrored(&origin.host, &[&mirror.host]), None);
    push(&registry, &origin.host, &content(1000), None)
        .await
        .unwrap();
    assert_eq!(origin.requests(), SMALL);
    assert_eq!(mirror.requests(), 0);
}

#[tokio::test]
async fn content_with_another_digest_is_refused_by_the_registry() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    for size in [1000, 5 * MIB] {
        let push = repository(&registry, &server.host)
            .push_blob(
                &digest(b"another"),
                u64::try_from(size).unwrap(),
                None,
                body(&content(size)),
            )
            .await;
        let error = push.unwrap_err();
        assert!(error.to_string().contains("DIGEST_INVALID"), "{error}");
    }
    assert_eq!(registry.counters().retries, 0);
}
