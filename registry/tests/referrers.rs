//! Finding a SOCI index whether or not a registry has the referrers API.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use axum::response::Response;
use harness::{
    Seen, Server, answer, dead_host, digest, mirrored, options, redirect, registry, repository,
};
use registry::{Error, Registry};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const SOCI: &str = "application/vnd.amazon.soci.index.v1+json";

/// An image index of descriptors with these contents and artifact types.
fn index(entries: &[(&str, &str)], headers: &[(&str, &str)]) -> Option<Response> {
    let manifests: Vec<_> = entries
        .iter()
        .map(|(content, artifact_type)| {
            serde_json::json!({
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": digest(content.as_bytes()).to_string(),
                "size": content.len(),
                "artifactType": artifact_type,
            })
        })
        .collect();
    let body = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let headers = [headers, &[("content-type", INDEX)]].concat();
    answer(200, &headers, body.to_string())
}

fn is_api(seen: &Seen) -> bool {
    seen.path == format!("/v2/a/b/referrers/{}", digest(b"subject"))
}

fn is_tag(seen: &Seen) -> bool {
    seen.path
        == format!(
            "/v2/a/b/manifests/{}",
            digest(b"subject").to_string().replace(':', "-")
        )
}

/// The contents of the referrers found.
async fn list(registry: &Registry, host: &str) -> Result<Vec<String>, Error> {
    let found = repository(registry, host)
        .referrers(&digest(b"subject"), SOCI)
        .await?;
    Ok(found
        .iter()
        .map(|found| found.digest().to_string())
        .collect())
}

async fn check(
    answer: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static,
    expected: &[&str],
    requests: usize,
) {
    let server = Server::start(answer).await;
    let found = list(&registry(options(), None), &server.host)
        .await
        .unwrap();
    let expected: Vec<_> = expected
        .iter()
        .map(|c| digest(c.as_bytes()).to_string())
        .collect();
    assert_eq!(found, expected);
    assert_eq!(server.requests(), requests);
}

#[tokio::test]
async fn the_api_is_asked_for_the_type_and_not_trusted_to_filter() {
    let expected_query = "artifactType=application%2Fvnd.amazon.soci.index.v1%2Bjson";
    let entries = [("one", SOCI), ("signature", "application/x"), ("two", SOCI)];
    let unfiltered = move |seen: &Seen| {
        assert!(is_api(seen));
        assert_eq!(seen.query, expected_query);
        index(&entries, &[])
    };
    check(unfiltered, &["one", "two"], 1).await;
    let filtered = |_: &Seen| index(&[("one", SOCI)], &[("oci-filters-applied", "artifactType")]);
    check(filtered, &["one"], 1).await;
    check(|_: &Seen| index(&[], &[]), &[], 1).await;
}

#[tokio::test]
async fn all_pages_are_read() {
    let paged = |seen: &Seen| match seen.nth {
        0 => {
            let next = format!(r#"<{}?page=2>; rel="next""#, seen.path);
            index(&[("one", SOCI)], &[("link", next.as_str())])
        }
        _ => {
            assert_eq!(seen.query, "page=2");
            index(&[("two", SOCI)], &[])
        }
    };
    check(paged, &["one", "two"], 2).await;
}

#[tokio::test]
async fn pages_without_end_or_elsewhere_are_refused() {
    let endless = |_: &Seen| index(&[], &[("link", r#"<?page=n>; rel="next""#)]);
    let elsewhere = |_: &Seen| index(&[], &[("link", r#"<http://127.0.0.2/>; rel="next""#)]);
    let (endless, elsewhere) = (Server::start(endless).await, Server::start(elsewhere).await);
    let registry = registry(options(), None);
    for (server, requests) in [(endless, 16), (elsewhere, 1)] {
        let error = list(&registry, &server.host).await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert_eq!(server.requests(), requests);
    }
}

#[tokio::test]
async fn without_the_api_the_tag_is_read() {
    let refusals: Vec<fn() -> Option<Response>> = vec![
        || answer(404, &[], "404 page not found"),
        || answer(404, &[], r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#),
        || answer(405, &[], ""),
        || answer(501, &[], ""),
        || answer(200, &[("content-type", "text/html")], "<html>"),
        || answer(200, &[("content-type", "application/json")], "{}"),
        || redirect("/login"),
        || redirect("https://169.254.169.254/login"),
    ];
    for (nth, refuse) in refusals.into_iter().enumerate() {
        let answers = move |seen: &Seen| match seen.path.as_str() {
            "/login" => answer(200, &[("content-type", "text/html")], "<html>"),
            _ if is_tag(seen) => index(&[("one", SOCI), ("signature", "application/x")], &[]),
            _ => refuse(),
        };
        check(answers, &["one"], if nth == 6 { 3 } else { 2 }).await;
    }
}

#[tokio::test]
async fn without_api_and_tag_there_are_none() {
    check(|_: &Seen| answer(404, &[], ""), &[], 2).await;
}

#[tokio::test]
async fn a_missing_api_is_remembered() {
    let server = Server::start(|_| answer(404, &[], "")).await;
    let registry = registry(options(), None);
    for _ in 0..5 {
        list(&registry, &server.host).await.unwrap();
    }
    assert_eq!(server.seen().iter().filter(|seen| is_api(seen)).count(), 1);
    assert_eq!(server.seen().iter().filter(|seen| is_tag(seen)).count(), 5);
}

#[tokio::test]
async fn trouble_is_not_mistaken_for_a_missing_api() {
    let server = Server::start(|seen| match seen.nth {
        0 => answer(503, &[], ""),
        _ => index(&[("one", SOCI)], &[]),
    })
    .await;
    let found = list(&registry(options(), None), &server.host)
        .await
        .unwrap();
    assert_eq!((found.len(), server.requests()), (1, 2));
    let server = Server::start(|_| answer(403, &[], "")).await;
    let error = list(&registry(options(), None), &server.host)
        .await
        .unwrap_err();
    assert!(error.is_denied(), "{error}");
}

#[tokio::test]
async fn a_malformed_or_oversized_list_is_refused() {
    let answers: Vec<fn() -> Option<Response>> = vec![
        || answer(200, &[("content-type", INDEX)], "{"),
        || answer(200, &[("content-type", INDEX)], "{}"),
        || answer(200, &[("content-type", INDEX)], vec![b' '; (4 << 20) + 1]),
    ];
    for refuse in answers {
        let server = Server::start(move |_| refuse()).await;
        let error = list(&registry(options(), None), &server.host)
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Malformed { .. } | Error::TooLarge { .. }),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_mirror_that_knows_of_none_is_not_the_last_word() {
    let mirror = Server::start(|_| answer(404, &[], "")).await;
    let origin = Server::start(|_| index(&[("one", SOCI)], &[])).await;
    let registry_ = registry(mirrored(&origin.host, &[&mirror.host]), None);
    assert_eq!(list(&registry_, &origin.host).await.unwrap().len(), 1);

    // Unless the registry cannot be reached: waiting for it would hold up the image.
    let dead = dead_host().await;
    let registry_ = registry(mirrored(&dead, &[&mirror.host]), None);
    assert!(list(&registry_, &dead).await.unwrap().is_empty());
    assert_eq!(registry_.counters().retries, 0);
}
