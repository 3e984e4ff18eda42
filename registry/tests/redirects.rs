//! Following a registry to where its blobs really are.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use harness::{
    BASIC, Server, answer, content, digest, options, password, redirect, registry, repository,
    serve,
};
use registry::{Blob, Error};

/// A registry that wants a password and redirects to `cdn` with the current signature.
async fn signing(cdn: &Server, signature: Arc<AtomicUsize>) -> Server {
    let cdn = cdn.url("/data");
    Server::start(move |seen| match seen.is(BASIC) {
        true => redirect(&format!("{cdn}?sig={}", signature.load(Ordering::SeqCst))),
        false => answer(401, &[("www-authenticate", "Basic realm=r")], ""),
    })
    .await
}

/// A store that answers `refusal` to any but the current signature.
async fn store(signature: Arc<AtomicUsize>, refusal: u16) -> Server {
    Server::start(move |seen| {
        if seen.query != format!("sig={}", signature.load(Ordering::SeqCst)) {
            return answer(refusal, &[], "<Error><Code>ExpiredToken</Code></Error>");
        }
        serve(seen, &content(1000))
    })
    .await
}

fn blob(server: &Server) -> Blob {
    let registry = registry(options(), password());
    repository(&registry, &server.host).ranged(&digest(&content(1000)), 1000)
}

async fn check(blob: &Blob, start: u64) -> Result<(), Error> {
    let read = blob.read(start..start + 10).await?;
    let start = usize::try_from(start).unwrap();
    assert_eq!(read, content(1000).slice(start..start + 10));
    Ok(())
}

#[tokio::test]
async fn the_registry_is_asked_once_for_many_reads() {
    let signature = Arc::new(AtomicUsize::new(1));
    let cdn = store(signature.clone(), 403).await;
    let server = signing(&cdn, signature).await;
    let blob = blob(&server);
    for start in 0..20 {
        check(&blob, start).await.unwrap();
    }
    // The challenge, the redirect; then only the store.
    assert_eq!((server.requests(), cdn.requests()), (2, 20));
    assert!(cdn.seen().iter().all(|seen| seen.authorization.is_none()));
    assert_eq!(cdn.seen()[3].range.as_deref(), Some("bytes=3-12"));
}

#[tokio::test]
async fn an_expired_url_is_renewed_whatever_the_store_calls_it() {
    for refusal in [400, 401, 403, 404, 410] {
        let signature = Arc::new(AtomicUsize::new(1));
        let cdn = store(signature.clone(), refusal).await;
        let server = signing(&cdn, signature.clone()).await;
        let blob = blob(&server);
        check(&blob, 1).await.unwrap();
        signature.store(2, Ordering::SeqCst);
        check(&blob, 2).await.unwrap();
        check(&blob, 3).await.unwrap();
        assert_eq!((server.requests(), cdn.requests()), (3, 4), "{refusal}");
    }
}

#[tokio::test]
async fn many_readers_survive_an_expiry_together() {
    let signature = Arc::new(AtomicUsize::new(1));
    let cdn = store(signature.clone(), 403).await;
    let server = signing(&cdn, signature.clone()).await;
    let blob = blob(&server);
    check(&blob, 0).await.unwrap();
    signature.store(2, Ordering::SeqCst);
    let reads = join_all((0..32).map(|start| check(&blob, start))).await;
    assert!(reads.iter().all(Result::is_ok), "{reads:?}");
    let (registry_before, cdn_before) = (server.requests(), cdn.requests());
    check(&blob, 5).await.unwrap();
    assert_eq!(
        (server.requests(), cdn.requests()),
        (registry_before, cdn_before + 1)
    );
}

#[tokio::test]
async fn a_store_that_refuses_a_fresh_url_is_not_asked_in_a_loop() {
    let cdn = Server::start(|_| answer(403, &[], "")).await;
    let server = signing(&cdn, Arc::new(1.into())).await;
    let error = check(&blob(&server), 0).await.unwrap_err();
    assert!(error.is_denied(), "{error}");
    assert_eq!((server.requests(), cdn.requests()), (2, 1));
}

#[tokio::test]
async fn a_store_in_trouble_is_looked_up_again() {
    let signature = Arc::new(AtomicUsize::new(1));
    let cdn = Server::start(|seen| match seen.nth {
        1 => answer(503, &[], ""),
        _ => serve(seen, &content(1000)),
    })
    .await;
    let server = signing(&cdn, signature).await;
    let blob = blob(&server);
    check(&blob, 0).await.unwrap();
    check(&blob, 1).await.unwrap();
    assert_eq!((server.requests(), cdn.requests()), (3, 3));
}

#[tokio::test]
async fn a_store_that_asks_who_we_are_gets_no_answer() {
    let cdn = Server::start(|_| answer(401, &[("www-authenticate", "Basic realm=r")], "")).await;
    let server = signing(&cdn, Arc::new(1.into())).await;
    assert!(check(&blob(&server), 0).await.unwrap_err().is_denied());
    assert!(cdn.seen().iter().all(|seen| seen.authorization.is_none()));
    assert_eq!(cdn.requests(), 1);
}

#[tokio::test]
async fn a_redirect_within_the_registry_keeps_its_authorization() {
    let server = Server::start(|seen| match (seen.is(BASIC), seen.path.as_str()) {
        (false, _) => answer(401, &[("www-authenticate", "Basic realm=r")], ""),
        (true, "/data") => serve(seen, &content(1000)),
        (true, _) => redirect("/data"),
    })
    .await;
    let blob = blob(&server);
    check(&blob, 0).await.unwrap();
    check(&blob, 1).await.unwrap();
    assert_eq!(server.requests(), 5);
}

#[tokio::test]
async fn a_chain_of_redirects_ends() {
    let server = Server::start(|seen| {
        let hops: usize = seen
            .query
            .strip_prefix("n=")
            .map_or(0, |n| n.parse().unwrap());
        match hops {
            5 => serve(seen, &content(1000)),
            hops => redirect(&format!("/next?n={}", hops + 1)),
        }
    })
    .await;
    check(&blob(&server), 0).await.unwrap();
    assert_eq!(server.requests(), 6);

    let server = Server::start(|_| redirect("/again")).await;
    let error = check(&blob(&server), 0).await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error}");
    assert_eq!(server.requests(), 6);
}

#[tokio::test]
async fn a_redirect_to_forbidden_ground_is_not_followed() {
    for location in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0.0.0.0/",
        "http://user:password@127.0.0.1/",
        "file:///etc/shadow",
        "gopher://127.0.0.1/",
        "http://",
    ] {
        let server = Server::start(move |_| redirect(location)).await;
        let error = check(&blob(&server), 0).await.unwrap_err();
        assert!(
            matches!(error, Error::Redirect { .. }),
            "{location}: {error}"
        );
        assert_eq!(server.requests(), 1, "{location}");
    }
}
