//! Pushing manifests, finding them again, and listing them as referrers where the registry does not.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod harness;

use bytes::Bytes;
use harness::accepting::{Accepting, Auth, Faults, INDEX};
use harness::{Server, answer, digest, mirrored, options, password, registry, repository};
use oci_spec::image::Digest;
use registry::{Error, Pushed, PushedManifest, Registry};
use serde_json::{Value, json};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const SOCI: &str = "application/vnd.amazon.soci.index.v1+json";

fn subject() -> Digest {
    digest(b"subject")
}

fn tag() -> String {
    subject().to_string().replace(':', "-")
}

/// A SOCI index of an image; `which` tells one from another.
fn soci_index(which: &str) -> Bytes {
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": SOCI, "digest": digest(b"{}").to_string(), "size": 2},
        "layers": [],
        "annotations": {"which": which},
        "subject": {"mediaType": MANIFEST, "digest": subject().to_string(), "size": 7},
    });
    manifest.to_string().into()
}

fn entry(which: &str) -> Value {
    let index = soci_index(which);
    json!({
        "mediaType": MANIFEST,
        "digest": digest(&index).to_string(),
        "size": index.len(),
        "artifactType": SOCI,
        "annotations": {"which": which},
    })
}

fn list(which: &[&str]) -> Bytes {
    let entries: Vec<_> = which.iter().map(|which| entry(which)).collect();
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries});
    index.to_string().into()
}

async fn push(
    registry: &Registry,
    host: &str,
    name: &str,
    manifest: &Bytes,
) -> Result<PushedManifest, Error> {
    repository(registry, host)
        .push_manifest(name, MANIFEST, manifest)
        .await
}

/// Pushes a SOCI index as the index tool does; whether the list of referrers was written.
async fn publish(registry: &Registry, host: &str, which: &str) -> Result<Option<bool>, Error> {
    let index = soci_index(which);
    let pushed = push(registry, host, digest(&index).as_ref(), &index).await?;
    let Some(referrer) = pushed.unlisted else {
        return Ok(None);
    };
    assert_eq!(referrer.subject, subject());
    let repository = repository(registry, host);
    let added = repository
        .add_referrer(&referrer.subject, referrer.descriptor)
        .await?;
    Ok(Some(added))
}

/// What stands in the list of referrers.
fn listed(server: &Accepting) -> Vec<Value> {
    let key = ("a/b".to_owned(), tag());
    let (media_type, list) = server.with(|state| state.manifests[&key].clone());
    assert_eq!(media_type, INDEX);
    let list: Value = serde_json::from_slice(&list).unwrap();
    list["manifests"].as_array().unwrap().clone()
}

fn check_listed(server: &Accepting, expected: &[&str]) {
    let mut listed: Vec<_> = listed(server).iter().map(Value::to_string).collect();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|which| entry(which).to_string())
        .collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

fn plain() -> Bytes {
    json!({"schemaVersion": 2, "mediaType": MANIFEST, "layers": []})
        .to_string()
        .into()
}

#[tokio::test]
async fn a_manifest_is_pushed_once_and_found_by_tag_and_digest() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    let (manifest, repository) = (plain(), repository(&registry, &server.host));
    for name in ["latest".to_owned(), digest(&manifest).to_string()] {
        assert_eq!(repository.has_manifest(&digest(b"x")).await.unwrap(), None);
        let pushed = push(&registry, &server.host, &name, &manifest)
            .await
            .unwrap();
        assert_eq!((pushed.digest, pushed.unlisted), (digest(&manifest), None));
        let before = registry.counters();
        let again = push(&registry, &server.host, &name, &manifest)
            .await
            .unwrap();
        assert_eq!(again.pushed, Pushed::Present);
        assert_eq!(registry.counters().uploaded_bytes, before.uploaded_bytes);
        let (descriptor, bytes) = repository.resolve(&name).await.unwrap();
        assert_eq!(bytes, manifest);
        assert_eq!(descriptor.digest(), &digest(&manifest));
        assert_eq!(descriptor.media_type().to_string(), MANIFEST);
        assert_eq!(descriptor.size(), u64::try_from(manifest.len()).unwrap());
        let found = repository.has_manifest(&digest(&manifest)).await.unwrap();
        assert_eq!(found, Some(descriptor));
    }
    assert_eq!(registry.counters().pushes, 1);
    assert_eq!(
        registry.counters().uploaded_bytes,
        u64::try_from(manifest.len()).unwrap()
    );
    // A tag moves.
    let another = soci_index("one");
    let pushed = push(&registry, &server.host, "latest", &another)
        .await
        .unwrap();
    assert_eq!(pushed.pushed, Pushed::Uploaded);
    assert_eq!(repository.resolve("latest").await.unwrap().1, another);
}

#[tokio::test]
async fn a_manifest_goes_only_by_its_own_name() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    let wrong = digest(b"another").to_string();
    for (name, manifest) in [
        (wrong.as_str(), plain()),
        ("../../x", plain()),
        ("latest", Bytes::from_static(b"not json")),
        ("latest", vec![b' '; (4 << 20) + 1].into()),
    ] {
        let error = push(&registry, &server.host, name, &manifest)
            .await
            .unwrap_err();
        assert!(!error.is_transient(), "{name}: {error}");
    }
    assert!(
        repository(&registry, &server.host)
            .resolve("a/b")
            .await
            .is_err()
    );
    assert_eq!(registry.counters().requests, 0);
}

#[tokio::test]
async fn what_a_tag_names_is_checked() {
    let manifest = plain();
    let wrong = digest(b"another").to_string();
    let headers: [&[(&str, &str)]; 2] = [
        &[
            ("content-type", MANIFEST),
            ("docker-content-digest", &wrong),
        ],
        &[("content-type", "text/html")],
    ];
    for (headers, body) in headers
        .into_iter()
        .zip([manifest.clone(), Bytes::from_static(b"<html>")])
    {
        let headers: Vec<_> = headers
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let server = Server::start(move |_| {
            let headers: Vec<_> = headers
                .iter()
                .map(|(k, v)| (k.as_str(), v.as_str()))
                .collect();
            answer(200, &headers, body.clone())
        })
        .await;
        let registry = registry(options(), None);
        let error = repository(&registry, &server.host)
            .resolve("latest")
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Digest { .. } | Error::Malformed { .. }),
            "{error}"
        );
    }
    // Some registries do not say the digest; what came has one.
    let docker = r#"{"mediaType":"application/vnd.docker.distribution.manifest.list.v2+json"}"#;
    let server = Server::start(move |_| answer(200, &[], docker)).await;
    let registry = registry(options(), None);
    let (descriptor, _) = repository(&registry, &server.host)
        .resolve("latest")
        .await
        .unwrap();
    assert_eq!(descriptor.digest(), &digest(docker.as_bytes()));
}

#[tokio::test]
async fn a_tag_is_asked_of_the_registry_and_not_of_mirrors() {
    let mirror = Server::start(|_| answer(200, &[("content-type", MANIFEST)], "{}")).await;
    let server = Accepting::start(Faults::default()).await;
    let registry = registry(mirrored(&server.host, &[&mirror.host]), None);
    push(&registry, &server.host, "latest", &plain())
        .await
        .unwrap();
    let repository = repository(&registry, &server.host);
    assert_eq!(repository.resolve("latest").await.unwrap().1, plain());
    repository.has_manifest(&digest(b"x")).await.unwrap();
    assert_eq!(mirror.requests(), 0);
}

#[tokio::test]
async fn a_registry_with_the_api_lists_referrers_itself() {
    let faults = Faults {
        has_referrers_api: true,
        ..Faults::default()
    };
    let (server, registry) = (Accepting::start(faults).await, registry(options(), None));
    assert_eq!(publish(&registry, &server.host, "one").await.unwrap(), None);
    assert_eq!(server.requests(), ["HEAD manifests", "PUT manifests"]);
    let before = registry.counters();
    assert_eq!(publish(&registry, &server.host, "one").await.unwrap(), None);
    assert_eq!(server.requests()[2..], ["HEAD manifests", "GET referrers"]);
    assert_eq!(registry.counters().uploaded_bytes, before.uploaded_bytes);
}

#[tokio::test]
async fn without_the_api_a_tag_lists_them() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    assert_eq!(
        publish(&registry, &server.host, "one").await.unwrap(),
        Some(true)
    );
    check_listed(&server, &["one"]);
    let before = registry.counters();
    assert_eq!(
        publish(&registry, &server.host, "one").await.unwrap(),
        Some(false)
    );
    assert_eq!(registry.counters().uploaded_bytes, before.uploaded_bytes);
    assert_eq!(
        publish(&registry, &server.host, "two").await.unwrap(),
        Some(true)
    );
    check_listed(&server, &["one", "two"]);
    let found = repository(&registry, &server.host)
        .referrers(&subject(), SOCI)
        .await
        .unwrap();
    assert_eq!(found.len(), 2);
}

#[tokio::test]
async fn a_racing_writer_loses_nothing_and_takes_nothing() {
    // Another client that read before we wrote puts its own list in the place of ours, twice.
    let faults = Faults {
        racers: [list(&["theirs"]), list(&["others"])].into(),
        ..Faults::default()
    };
    let (server, registry_) = (Accepting::start(faults).await, registry(options(), None));
    assert_eq!(
        publish(&registry_, &server.host, "ours").await.unwrap(),
        Some(true)
    );
    check_listed(&server, &["ours", "theirs", "others"]);

    let server = Accepting::start(Faults::default()).await;
    let names = ["a", "b", "c", "d"];
    let writers = names.map(|which| {
        let (registry, host) = (registry(options(), None), server.host.clone());
        tokio::spawn(async move { publish(&registry, &host, which).await })
    });
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    check_listed(&server, &names);
}

#[tokio::test]
async fn endless_contention_is_given_up_and_said() {
    let racers = std::iter::repeat_n(list(&["theirs"]), 100).collect();
    let (server, registry) = (
        Accepting::start(Faults {
            racers,
            ..Faults::default()
        })
        .await,
        registry(options(), None),
    );
    let error = publish(&registry, &server.host, "ours").await.unwrap_err();
    assert!(matches!(error, Error::Contended { .. }), "{error}");
    assert!(error.to_string().contains(&tag()), "{error}");
}

#[tokio::test]
async fn what_others_wrote_into_the_list_is_kept_as_it_is() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    let theirs = json!({
        "schemaVersion": 2, "mediaType": INDEX, "annotations": {"k": "v"}, "x-new": 1,
        "manifests": [{"mediaType": "x", "digest": "sha256:unknown", "size": 1, "x-new": [2]}],
    });
    let key = ("a/b".to_owned(), tag());
    let stored = (INDEX.to_owned(), Bytes::from(theirs.to_string()));
    server.with(|state| state.manifests.insert(key.clone(), stored));
    publish(&registry, &server.host, "ours").await.unwrap();
    let list: Value =
        serde_json::from_slice(&server.with(|state| state.manifests[&key].1.clone())).unwrap();
    assert_eq!(
        (&list["x-new"], &list["annotations"]),
        (&theirs["x-new"], &theirs["annotations"])
    );
    assert_eq!(list["manifests"][0], theirs["manifests"][0]);
    assert_eq!(list["manifests"][1], entry("ours"));
}

#[tokio::test]
async fn an_image_under_the_name_of_the_list_is_not_replaced() {
    let (server, registry) = (
        Accepting::start(Faults::default()).await,
        registry(options(), None),
    );
    for (media_type, content) in [(MANIFEST, plain()), (INDEX, Bytes::from_static(b"[]"))] {
        let key = ("a/b".to_owned(), tag());
        let stored = (media_type.to_owned(), content.clone());
        server.with(|state| state.manifests.insert(key.clone(), stored));
        let error = publish(&registry, &server.host, "ours").await.unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert_eq!(
            server.with(|state| state.manifests[&key].1.clone()),
            content
        );
    }
}

#[tokio::test]
async fn manifests_are_pushed_past_challenges_and_trouble() {
    let faults = Faults {
        auth: Some(Auth { grant: |_| true }),
        refusals: [("PUT", 429), ("HEAD", 503)].into(),
        ..Faults::default()
    };
    let (server, registry) = (
        Accepting::start(faults).await,
        registry(options(), password()),
    );
    assert_eq!(
        publish(&registry, &server.host, "one").await.unwrap(),
        Some(true)
    );
    check_listed(&server, &["one"]);
    assert_eq!(registry.counters().token_requests, 1);
    assert_eq!(registry.counters().retries, 2);
}
