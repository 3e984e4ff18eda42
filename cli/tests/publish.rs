//! `publish`, `verify` and `diff` against a registry.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers count as code otherwise

mod support;

use serde_json::Value;
use support::image::{GZIP, Layout, digest, gzip, noise, tar};
use support::registry::Registry;
use support::soci;
use tempfile::tempdir;

/// A registry with an image of two platforms as `app:1`.
fn loaded(with_referrers: bool) -> Registry {
    let layout = tempdir().unwrap();
    let layout = Layout(layout.path());
    layout.two_platforms();
    let registry = Registry::start(with_referrers);
    registry.load(&layout, "app", "1");
    registry
}

fn check(registry: &Registry, command: &str) -> support::Run {
    let command = command.replace("HOST", &registry.host);
    soci(command.split(' '))
}

const V1: &str = "publish --min-layer-size 0 HOST/app:1";

#[test]
fn an_index_is_put_beside_the_image_and_not_twice() {
    for with_referrers in [true, false] {
        let registry = loaded(with_referrers);
        let first = check(&registry, V1).quiet();
        // Three zTOCs, the empty config, an index for each platform, and the tag that lists each.
        assert_eq!(registry.sent().len(), if with_referrers { 6 } else { 8 });
        assert!(!first.stdout.contains("already"));
        let second = check(&registry, V1).quiet();
        assert_eq!(registry.sent(), Vec::<String>::new());
        assert_eq!(second.stdout.matches("(already exists)").count(), 4);
        assert!(
            second
                .stdout
                .contains("already there: nothing was uploaded")
        );
        assert_eq!(first.last(), second.last());
        let forced = check(&registry, &format!("{V1} --force")).quiet();
        assert!(!forced.stdout.contains("(already exists)"));
        assert_eq!(
            registry.sent(),
            Vec::<String>::new(),
            "the same bytes are there"
        );
        let verified = check(&registry, "verify HOST/app:1").quiet();
        assert!(
            verified
                .stdout
                .contains("checked 2 index(es) and 3 layer(s): 0 error(s)")
        );
    }
}

#[test]
fn an_image_with_its_index_gets_another_tag() {
    let registry = loaded(true);
    let first = check(
        &registry,
        "publish --min-layer-size 0 HOST/app:1 --tag 1-soci",
    )
    .quiet();
    let sent = registry.sent();
    assert_eq!(
        sent.last().map(String::as_str),
        Some("1-soci"),
        "the name comes last: {sent:?}"
    );
    let image = registry.manifest("app", "1-soci").unwrap();
    assert_eq!(image["manifests"].as_array().unwrap().len(), 4);
    let again = check(
        &registry,
        "publish --min-layer-size 0 HOST/app:1 --tag 1-soci",
    )
    .quiet();
    assert_eq!(registry.sent(), Vec::<String>::new());
    assert_eq!(again.last(), first.last());
    assert_eq!(again.stdout.matches("(already exists)").count(), 4);
    check(&registry, "verify HOST/app:1-soci").quiet();
}

#[test]
fn layers_are_mounted_within_a_registry_and_copied_between_two() {
    let registry = loaded(true);
    check(
        &registry,
        "publish --min-layer-size 0 HOST/app:1 HOST/other:x",
    )
    .quiet();
    assert_eq!(registry.mounted(), 5, "three layers and two configs");
    check(&registry, "verify HOST/other:x").quiet();
    let other = Registry::start(true);
    let command = format!("publish --min-layer-size 0 HOST/app:1 {}/app:1", other.host);
    check(&registry, &command).quiet();
    assert_eq!(other.blobs("app"), 3 + 2 + 3 + 1);
    check(&other, "verify HOST/app:1").quiet();
}

#[test]
fn a_platform_can_be_chosen() {
    let registry = loaded(true);
    let run = check(&registry, &format!("{V1} --platform linux/arm64 --json")).quiet();
    let json = run.json();
    let platforms = json["platforms"].as_array().unwrap();
    assert_eq!(platforms.len(), 1);
    assert_eq!(platforms[0]["platform"], "linux/arm64");
    assert_eq!(json["already_there"], Value::Bool(false));
}

#[test]
fn a_dry_run_uploads_nothing_and_tells_the_digest() {
    let registry = loaded(true);
    for command in [
        V1.to_owned(),
        "publish --min-layer-size 0 HOST/app:1 --tag 2".to_owned(),
    ] {
        let dry = check(&registry, &format!("{command} --dry-run")).quiet();
        assert_eq!(registry.sent(), Vec::<String>::new());
        assert!(dry.stdout.contains("would push"));
        let real = check(&registry, &command).quiet();
        assert_eq!(dry.last(), real.last());
        registry.sent();
    }
}

#[test]
fn a_registry_that_lies_about_a_layer_gets_no_index() {
    let registry = loaded(true);
    let image = registry.manifest("app", "1").unwrap();
    let manifest = image["manifests"][0]["digest"].as_str().unwrap();
    let manifest = registry.manifest("app", manifest).unwrap();
    let layer = &manifest["layers"][0];
    let (name, size) = (
        layer["digest"].as_str().unwrap(),
        layer["size"].as_u64().unwrap(),
    );
    let other = gzip(&tar(&[("x", b'0', &noise(9, 100))]));
    let mut padded = other.clone();
    padded.resize(usize::try_from(size).unwrap(), 0);
    for lie in [other, padded] {
        registry.serve_instead(name, lie);
        let run = check(&registry, V1);
        run.fails(1, name);
        let sent = registry.sent();
        let manifests = sent
            .iter()
            .filter(|sent| registry.manifest("app", sent).is_some());
        assert_eq!(manifests.count(), 0, "no index was pushed");
    }
}

#[test]
fn a_check_finds_a_layer_that_is_not_the_one_indexed() {
    let registry = loaded(true);
    check(&registry, V1).quiet();
    let image = registry.manifest("app", "1").unwrap();
    let manifest = image["manifests"][1]["digest"].as_str().unwrap();
    let manifest = registry.manifest("app", manifest).unwrap();
    let layer = manifest["layers"][1]["digest"].as_str().unwrap();
    registry.serve_instead(layer, gzip(&tar(&[("x", b'0', b"x")])));
    let run = check(&registry, "verify --json HOST/app:1");
    assert_eq!(run.code, 4);
    let json = run.json();
    let findings = json["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .any(|f| f["code"] == "layer-digest" && f["severity"] == "error")
    );
}

#[test]
fn indexes_of_another_span_size_differ_and_are_built_anew() {
    let registry = loaded(true);
    let one = check(&registry, &format!("{V1} --platform amd64 -q")).quiet();
    let two = check(
        &registry,
        &format!("{V1} --platform amd64 -q --span-size 65536"),
    )
    .quiet();
    assert_ne!(one.stdout, two.stdout);
    let (one, two) = (one.last().to_owned(), two.last().to_owned());
    let run = check(&registry, &format!("diff HOST/app@{one} HOST/app@{two}"));
    assert_eq!(run.code, 4);
    assert!(run.stdout.contains("span"), "{}", run.stdout);
    check(&registry, &format!("diff HOST/app@{one} HOST/app@{one}")).quiet();
    check(&registry, "diff HOST/app:1 HOST/app:1 --platform amd64").fails(2, "2 SOCI indexes");
}

#[test]
fn an_image_in_files_is_published_with_its_layers() {
    let layout = tempdir().unwrap();
    let layer = gzip(&tar(&[("a", b'0', &noise(1, 5000))]));
    let layout_of = Layout(layout.path());
    let image = layout_of.image("amd64", &[(GZIP, &layer)]);
    layout_of.index(&[image]);
    let registry = Registry::start(false);
    let source = format!("oci:{}", layout.path().display());
    let publish = |version: &str, tag: &str| {
        let destination = format!("{}/app:{tag}", registry.host);
        let arguments = [
            "publish",
            "--min-layer-size",
            "0",
            "--soci-version",
            version,
        ];
        soci(arguments.into_iter().chain([source.as_str(), &destination])).quiet();
        soci(["verify", &destination]).quiet();
    };
    publish("v2", "2");
    publish("V1", "1");
    assert!(registry.sent().contains(&digest(&layer)));
    soci(["publish", &source]).fails(2, "destination");
}

#[test]
fn what_is_not_there_is_named() {
    let registry = loaded(true);
    check(&registry, "publish HOST/app:none").fails(1, "no such image");
    check(&registry, "verify HOST/app:1").fails(1, "no SOCI index");
    check(&registry, "publish HOST/app:1 --min-layer-size 99999999").fails(3, "nothing to index");
    check(&registry, "publish HOST/APP:1").fails(2, "no image reference");
    check(&registry, "publish HOST/app:1 ./out").fails(2, "oci-archive:./out");
}
