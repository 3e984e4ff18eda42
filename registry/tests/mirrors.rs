//! Mirrors are asked first, and missed little when they are gone.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use std::time::Duration;

use harness::{
    Server, answer, content, dead_host, digest, mirrored, redirect, registry, repository, serve,
};
use registry::{Error, Options, Registry};

async fn good() -> Server {
    Server::start(|seen| serve(seen, &content(1000))).await
}

/// Reads a part through the mirrors of `origin`.
async fn check(registry: &Registry, origin: &str) -> Result<(), Error> {
    let blob = repository(registry, origin).ranged(&digest(&content(1000)), 1000);
    let read = blob.read(10..20).await?;
    assert_eq!(read, content(1000).slice(10..20));
    Ok(())
}

#[tokio::test]
async fn a_mirror_that_works_spares_the_registry() {
    let (mirror, origin) = (good().await, good().await);
    let registry = registry(
        mirrored(&origin.host, &[&format!("{}/proxy/v2", mirror.host)]),
        None,
    );
    check(&registry, &origin.host).await.unwrap();
    assert_eq!((mirror.requests(), origin.requests()), (1, 0));
    let seen = &mirror.seen()[0];
    assert_eq!(
        seen.path,
        format!("/proxy/v2/a/b/blobs/{}", digest(&content(1000)))
    );
    assert_eq!(
        seen.query,
        format!("ns={}", origin.host.replace(':', "%3A"))
    );
}

#[tokio::test]
async fn a_mirror_that_is_down_is_left_alone() {
    let origin = good().await;
    let broken = Server::start(|_| answer(503, &[], "")).await;
    let hosts: [&str; 2] = [&dead_host().await, &broken.host];
    let registry = registry(mirrored(&origin.host, &hosts), None);
    for _ in 0..10 {
        check(&registry, &origin.host).await.unwrap();
    }
    assert_eq!((broken.requests(), origin.requests()), (1, 10));
    assert_eq!(registry.counters().retries, 0);
}

#[tokio::test]
async fn a_mirror_without_the_image_is_asked_for_the_next_one() {
    for status in [401, 403, 404] {
        let origin = good().await;
        let mirror = Server::start(move |_| answer(status, &[], "")).await;
        let registry = registry(mirrored(&origin.host, &[&mirror.host]), None);
        check(&registry, &origin.host).await.unwrap();
        check(&registry, &origin.host).await.unwrap();
        assert_eq!((mirror.requests(), origin.requests()), (2, 2), "{status}");
    }
}

#[tokio::test]
async fn a_mirror_that_lies_is_left_alone() {
    let origin = good().await;
    let mirror = Server::start(|_| answer(200, &[], "something else")).await;
    let registry = registry(mirrored(&origin.host, &[&mirror.host]), None);
    for _ in 0..5 {
        let blob = repository(&registry, &origin.host)
            .blob(&digest(&content(1000)), 1000)
            .await;
        assert_eq!(blob.unwrap(), content(1000));
    }
    assert_eq!((mirror.requests(), origin.requests()), (1, 5));
}

#[tokio::test]
async fn a_mirror_that_failed_is_tried_again_when_the_registry_is_away() {
    let mirror = Server::start(|seen| match seen.nth {
        0 => answer(500, &[], ""),
        _ => serve(seen, &content(1000)),
    })
    .await;
    let origin = dead_host().await;
    let registry = registry(mirrored(&origin, &[&mirror.host]), None);
    check(&registry, &origin).await.unwrap();
    assert_eq!((mirror.requests(), registry.counters().retries), (2, 1));
}

#[tokio::test]
async fn a_mirror_has_its_own_time_limit() {
    let origin = good().await;
    let mirror = Server::start(|_| None).await;
    let mut options = mirrored(&origin.host, &[&mirror.host]);
    // So long that only the mirror's own limit can end the wait.
    options.header_timeout = Duration::from_secs(3600);
    options.hosts.get_mut(&origin.host).unwrap()[0].request_timeout =
        Some(Duration::from_millis(100));
    let registry = registry(options, None);
    check(&registry, &origin.host).await.unwrap();
    assert_eq!((mirror.requests(), origin.requests()), (1, 1));
}

#[tokio::test]
async fn a_redirect_of_one_host_is_not_used_for_another() {
    let cdn = good().await;
    let to = cdn.url("/data");
    let mirror = Server::start(move |seen| match seen.nth {
        0 => redirect(&to),
        _ => answer(404, &[], ""),
    })
    .await;
    let origin = good().await;
    let registry = registry(mirrored(&origin.host, &[&mirror.host]), None);
    let blob = repository(&registry, &origin.host).ranged(&digest(&content(1000)), 1000);
    blob.read(0..1).await.unwrap();
    blob.read(1..2).await.unwrap();
    assert_eq!(
        (mirror.requests(), cdn.requests(), origin.requests()),
        (1, 2, 0)
    );
}

#[tokio::test]
async fn with_everything_down_the_message_names_the_registry() {
    let (mirror, origin) = (dead_host().await, dead_host().await);
    let registry = registry(mirrored(&origin, &[&mirror]), None);
    let error = check(&registry, &origin).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains(&origin), "{error}");
    assert_eq!(
        registry.counters().retries,
        u64::from(harness::options().max_retries)
    );
}

#[tokio::test]
async fn an_unusable_host_is_reported_not_contacted() {
    let options = mirrored("r.example", &["user:password@m.example"]);
    let registry = registry(options, None);
    let error = check(&registry, "r.example").await.unwrap_err();
    assert!(matches!(error, Error::Reference { .. }), "{error}");
    assert_eq!(registry.counters().requests, 0);
}

#[test]
fn the_defaults_are_those_of_the_go_original() {
    let options = Options::default();
    assert_eq!(options.connect_timeout, Duration::from_millis(3000));
    assert_eq!(options.header_timeout, Duration::from_millis(3000));
    assert_eq!(options.request_timeout, Duration::from_millis(300_000));
    assert_eq!(options.max_retries, 8);
    assert_eq!(options.min_wait, Duration::from_millis(30));
    assert_eq!(options.max_wait, Duration::from_millis(300_000));
    assert_eq!(options.auth_ttl, Duration::from_secs(3600));
    assert!(options.user_agent.starts_with("soci-snapshotter/"));
}
