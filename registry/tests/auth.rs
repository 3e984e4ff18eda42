//! Proving who we are: to whom it concerns, as rarely as possible, and without a trace.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::response::Response;
use futures_util::FutureExt;
use futures_util::future::join_all;
use harness::{
    After, BASIC, Seen, Server, answer, challenge, content, digest, options, password, registry,
    repository, serve,
};
use registry::{Credential, Error, Registry, Secret};

const TOKEN_PATH: &str = "/token";
const ECR_EXPIRED: &str = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#;

/// A registry with its own token endpoint. Tokens are `t1`, `t2`, …; `valid` says which is accepted.
async fn token_server(
    valid: Arc<AtomicUsize>,
    refuse: impl Fn(String) -> Option<Response> + Send + Sync + 'static,
) -> Server {
    let issued = AtomicUsize::new(0);
    Server::start(move |seen| {
        let host = seen.headers["host"].to_str().unwrap();
        if seen.path == TOKEN_PATH {
            let nth = issued.fetch_add(1, Ordering::SeqCst) + 1;
            return answer(
                200,
                &[],
                format!(r#"{{"token":"t{nth}","expires_in":300}}"#),
            );
        }
        if seen.is(&format!("Bearer t{}", valid.load(Ordering::SeqCst))) {
            return serve(seen, &content(1000));
        }
        refuse(format!("http://{host}{TOKEN_PATH}"))
    })
    .await
}

async fn check(registry: &Registry, server: &Server) -> Result<(), Error> {
    let blob = repository(registry, &server.host).ranged(&digest(&content(1000)), 1000);
    let read = blob.read(10..20).await?;
    assert_eq!(read, content(1000).slice(10..20));
    Ok(())
}

fn token_requests(server: &Server) -> Vec<Seen> {
    server
        .seen()
        .into_iter()
        .filter(|seen| seen.path == TOKEN_PATH)
        .collect()
}

#[tokio::test]
async fn a_public_image_needs_no_credentials() {
    let server = token_server(Arc::new(1.into()), |realm| challenge(&realm)).await;
    let registry = registry(options(), None);
    for _ in 0..5 {
        check(&registry, &server).await.unwrap();
    }
    let seen = server.seen();
    // Challenge, token, and then one request per read.
    assert_eq!(seen.len(), 7);
    assert_eq!(seen[1].method, "GET");
    assert_eq!(seen[1].query, "service=svc&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(seen[1].authorization, None);
    assert_eq!(registry.counters().token_requests, 1);
}

#[tokio::test]
async fn a_password_goes_to_the_token_endpoint_only() {
    let server = token_server(Arc::new(1.into()), |realm| challenge(&realm)).await;
    check(&registry(options(), password()), &server)
        .await
        .unwrap();
    for seen in server.seen() {
        assert_eq!(seen.is(BASIC), seen.path == TOKEN_PATH, "{seen:?}");
    }
    assert!(token_requests(&server)[0].query.ends_with("&account=user"));
}

#[tokio::test]
async fn a_password_is_sent_first_once_the_registry_asked_for_it() {
    let server = Server::start(|seen| {
        if seen.is(BASIC) {
            return serve(seen, &content(1000));
        }
        answer(401, &[("www-authenticate", r#"Basic realm="r""#)], "")
    })
    .await;
    let with_password = registry(options(), password());
    for _ in 0..3 {
        check(&with_password, &server).await.unwrap();
    }
    assert_eq!(server.requests(), 4);
    let error = check(&registry(options(), None), &server)
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error}");
}

#[tokio::test]
async fn an_identity_token_is_exchanged_by_post() {
    let server = token_server(Arc::new(1.into()), |realm| challenge(&realm)).await;
    let identity = Credential::IdentityToken(Secret::new("refresh+canary"));
    check(&registry(options(), Some(identity)), &server)
        .await
        .unwrap();
    let request = &token_requests(&server)[0];
    assert_eq!(request.method, "POST");
    assert_eq!(
        request.body,
        "grant_type=refresh_token&refresh_token=refresh%2Bcanary&client_id=soci-snapshotter\
         &scope=repository%3Aa%2Fb%3Apull&service=svc"
    );
    assert_eq!(
        (request.query.as_str(), request.authorization.as_deref()),
        ("", None)
    );
}

#[tokio::test]
async fn a_token_that_expires_is_renewed_once_for_all_readers() {
    let valid = Arc::new(AtomicUsize::new(1));
    let server = token_server(valid.clone(), |realm| challenge(&realm)).await;
    let registry = registry(options(), None);
    check(&registry, &server).await.unwrap();
    assert_eq!(registry.counters().token_requests, 1);
    valid.store(2, Ordering::SeqCst);
    let reads = join_all((0..32).map(|_| check(&registry, &server))).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    assert_eq!(registry.counters().token_requests, 2);
}

#[tokio::test]
async fn a_reader_that_learns_late_of_an_expiry_takes_the_token_already_renewed() {
    let valid = Arc::new(AtomicUsize::new(1));
    let moment = Arc::new(tokio::sync::Notify::new());
    let (refusals, after) = (AtomicUsize::new(0), After(moment.clone()));
    let server = token_server(valid.clone(), move |realm| {
        let mut refusal = challenge(&realm)?;
        // 0 is the first challenge of all, 1 the first of the expired token.
        if refusals.fetch_add(1, Ordering::SeqCst) == 1 {
            refusal.extensions_mut().insert(after.clone());
        }
        Some(refusal)
    })
    .await;
    let registry = registry(options(), None);
    check(&registry, &server).await.unwrap();
    valid.store(2, Ordering::SeqCst);
    let before = server.requests();
    let mut late = Box::pin(check(&registry, &server));
    while server.requests() == before {
        assert!(late.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    check(&registry, &server).await.unwrap();
    moment.notify_one();
    late.await.unwrap();
    assert_eq!(registry.counters().token_requests, 2);
}

#[tokio::test]
async fn cold_readers_share_one_token_exchange() {
    let server = token_server(Arc::new(1.into()), |realm| challenge(&realm)).await;
    let registry = registry(options(), None);
    let reads = join_all((0..32).map(|_| check(&registry, &server))).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    assert_eq!(token_requests(&server).len(), 1);
}

#[tokio::test]
async fn an_exchange_outlives_the_reader_that_began_it() {
    let server = token_server(Arc::new(1.into()), |realm| challenge(&realm)).await;
    let registry = registry(options(), None);
    let mut first = Box::pin(check(&registry, &server));
    let second = check(&registry, &server);
    tokio::pin!(second);
    // Until the token request is on the wire, then without its leader.
    while token_requests(&server).is_empty() {
        let _ = first.as_mut().now_or_never();
        let _ = second.as_mut().now_or_never();
        tokio::task::yield_now().await;
    }
    drop(first);
    second.await.unwrap();
    assert_eq!(registry.counters().token_requests, 1);
}

#[tokio::test]
async fn expiry_is_understood_in_the_words_of_each_registry() {
    for status in [400, 403] {
        let valid = Arc::new(AtomicUsize::new(1));
        let first = AtomicUsize::new(0);
        let server = token_server(valid.clone(), move |realm| {
            match first.fetch_add(1, Ordering::SeqCst) {
                0 => challenge(&realm),
                // No challenge: the one of the first time must do.
                _ => answer(status, &[], ECR_EXPIRED),
            }
        })
        .await;
        let registry = registry(options(), None);
        check(&registry, &server).await.unwrap();
        valid.store(2, Ordering::SeqCst);
        check(&registry, &server).await.unwrap();
        assert_eq!(registry.counters().token_requests, 2, "{status}");
    }
}

#[tokio::test]
async fn ecr_gets_a_password_although_it_does_not_ask() {
    let server = Server::start(|seen| match seen.is(BASIC) {
        true => serve(seen, &content(1000)),
        false => answer(403, &[], ECR_EXPIRED),
    })
    .await;
    check(&registry(options(), password()), &server)
        .await
        .unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_refused_credential_is_not_tried_again_and_again() {
    let server = token_server(Arc::new(0.into()), |realm| challenge(&realm)).await;
    let registry = registry(options(), password());
    for _ in 0..10 {
        let error = check(&registry, &server).await.unwrap_err();
        assert!(error.is_denied(), "{error}");
    }
    assert_eq!(token_requests(&server).len(), 1);

    let server = Server::start(|seen| match seen.path.as_str() {
        TOKEN_PATH => answer(401, &[], ""),
        _ => challenge(&format!(
            "http://{}/token",
            seen.headers["host"].to_str().unwrap()
        )),
    })
    .await;
    for _ in 0..10 {
        assert!(check(&registry, &server).await.unwrap_err().is_denied());
    }
    assert_eq!(token_requests(&server).len(), 1);
}

#[tokio::test]
async fn trouble_at_the_token_endpoint_is_waited_out() {
    let server = Server::start(|seen| match (seen.path.as_str(), seen.nth) {
        (TOKEN_PATH, 1) => answer(503, &[], ""),
        (TOKEN_PATH, _) => answer(200, &[], r#"{"access_token":"t"}"#),
        _ if seen.is("Bearer t") => serve(seen, &content(1000)),
        _ => challenge(&format!(
            "http://{}/token",
            seen.headers["host"].to_str().unwrap()
        )),
    })
    .await;
    check(&registry(options(), None), &server).await.unwrap();
    assert_eq!(token_requests(&server).len(), 2);
}

#[tokio::test]
async fn credentials_do_not_go_to_a_realm_that_is_not_fit_for_them() {
    for realm in [
        "ftp://127.0.0.1/token",
        "http://169.254.169.254/token",
        "http://u:p@127.0.0.1/t",
        "token",
    ] {
        let server = Server::start(move |_| challenge(realm)).await;
        let registry = registry(options(), password());
        let error = check(&registry, &server).await.unwrap_err();
        assert!(!error.is_transient(), "{realm}: {error}");
        assert_eq!(registry.counters().requests, 1, "{realm}");
    }
}

#[tokio::test]
async fn a_redirected_token_request_loses_its_password() {
    let other = Server::start(|_| answer(200, &[], r#"{"token":"t"}"#)).await;
    let location = other.url("/elsewhere?x=1");
    let server = Server::start(move |seen| match seen.path.as_str() {
        TOKEN_PATH => harness::redirect(&location),
        _ if seen.is("Bearer t") => serve(seen, &content(1000)),
        _ => challenge(&format!(
            "http://{}/token",
            seen.headers["host"].to_str().unwrap()
        )),
    })
    .await;
    check(&registry(options(), password()), &server)
        .await
        .unwrap();
    assert_eq!(other.seen()[0].authorization, None);
}

#[tokio::test]
async fn secrets_are_in_no_message() {
    let canaries = ["hunter2", "canary", "dXNlcjp", "sig=", "tok3n"];
    let body = "canary hunter2 tok3n";
    let answers: Vec<fn(&Seen) -> Option<Response>> = vec![
        |_| answer(500, &[("x-secret", "canary")], "canary"),
        |_| answer(401, &[("www-authenticate", "Basic realm=canary")], "canary"),
        |_| {
            answer(
                403,
                &[],
                r#"{"errors":[{"code":"not a canary","message":"canary"}]}"#,
            )
        },
        |_| harness::redirect("http://169.254.169.254/x?sig=canary"),
        |_| harness::redirect("http://user:canary@127.0.0.1/x?sig=canary"),
        |seen| harness::redirect(&format!("{}?sig=canary", seen.path)),
        |seen| match seen.path.as_str() {
            TOKEN_PATH => answer(200, &[], r#"{"token":["tok3n"]}"#),
            _ => challenge(&format!(
                "http://{}/token?sig=canary",
                seen.headers["host"].to_str().unwrap()
            )),
        },
        |_| harness::redirect("http://127.0.0.1:1/x?sig=canary"),
    ];
    for (nth, answer) in answers.into_iter().enumerate() {
        let server = Server::start(answer).await;
        let registry = registry(options(), password());
        let error = check(&registry, &server).await.unwrap_err();
        for text in [error.to_string(), format!("{error:?}")] {
            for canary in canaries {
                assert!(!text.contains(canary), "case {nth}: {text}");
            }
            assert!(
                text.contains("127.0.0.1") || text.contains("169.254"),
                "{text}"
            );
        }
    }
    assert!(!format!("{:?}", password()).contains("hunter2"), "{body}");
}
