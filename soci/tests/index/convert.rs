//! Conversions: the reference tool's bytes, and what it gets wrong done right.

use std::collections::HashMap;

use oci_spec::image::Digest;
use serde_json::{Value, json};
use soci::canonical::{self, Platform};
use soci::convert::{Converted, Image, Indexed, Role, convert_manifest};
use soci::{Error, media_types};

use crate::layout::{self, CONFIG, CONVERTED, CONVERTED_IMAGE, IMAGE, SOCI_INDEX, platform};

fn digest_of(json: &[u8]) -> Digest {
    canonical::digest(json).unwrap()
}

fn store<const N: usize>(manifests: [&[u8]; N]) -> HashMap<Digest, Vec<u8>> {
    let manifests = manifests.iter();
    manifests
        .map(|json| (digest_of(json), json.to_vec()))
        .collect()
}

fn indexed(manifest: &[u8], wanted: &str, index: &[u8]) -> Indexed {
    Indexed {
        manifest: digest_of(manifest),
        platform: platform(wanted),
        index: digest_of(index),
        index_size: index.len() as u64,
    }
}

fn manifests(converted: &Converted) -> Vec<Value> {
    let index: Value = serde_json::from_slice(&converted.json).unwrap();
    index["manifests"].as_array().unwrap().clone()
}

#[test]
fn a_conversion_has_the_bytes_of_the_reference_tool() {
    let image = layout::before(IMAGE);
    let platform = Platform::from_config(&layout::before(CONFIG)).unwrap();
    let soci = layout::after(SOCI_INDEX);
    let indexed = [Indexed {
        platform: platform.clone(),
        ..indexed(&image, "linux/amd64", &soci)
    }];
    let source = Image::from_manifest(media_types::MANIFEST, &image, platform).unwrap();
    let converted = source.convert(&store([&image]), &indexed).unwrap();
    assert_eq!(converted.digest, layout::digest(CONVERTED));
    assert_eq!(converted.json, layout::after(CONVERTED));
    assert_eq!(converted.manifests.len(), 1);
    assert_eq!(converted.manifests[0].original, layout::digest(IMAGE));
    assert_eq!(
        converted.manifests[0].digest,
        layout::digest(CONVERTED_IMAGE)
    );
    assert_eq!(converted.manifests[0].json, layout::after(CONVERTED_IMAGE));
}

#[test]
fn converting_again_changes_nothing() {
    let image = layout::after(CONVERTED_IMAGE);
    let soci = layout::after(SOCI_INDEX);
    let source = Image::from_index(&layout::after(CONVERTED)).unwrap();
    let roles: Vec<_> = source.listed().map(|listed| listed.role.clone()).collect();
    assert_eq!(roles, [Role::Image, Role::SociIndex]);
    let found = source.find(&platform("linux/amd64")).unwrap();
    assert_eq!(*found.digest, layout::digest(CONVERTED_IMAGE));
    for indexed in [&[][..], &[indexed(&image, "linux/amd64", &soci)]] {
        let converted = source.convert(&store([&image, &soci]), indexed).unwrap();
        assert_eq!(converted.digest, layout::digest(CONVERTED));
    }
}

/// An image for two platforms with an attestation, as BuildKit writes it, not in canonical form.
struct Multi {
    amd: Vec<u8>,
    arm: Vec<u8>,
    attestation: Vec<u8>,
    index: Vec<u8>,
}

fn manifest(layer: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_types::DOCKER_MANIFEST,
        "config": {"mediaType": media_types::DOCKER_CONFIG, "digest": format!("sha256:{CONFIG}"), "size": 248},
        "layers": [{
            "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "digest": format!("sha256:{layer}"),
            "size": 147,
            "unknown": true,
        }],
        "unknown": [1, 2],
    })
}

fn pretty(value: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(value).unwrap()
}

fn listed(json: &[u8], kind: &str, more: Value) -> Value {
    let mut descriptor = json!({
        "mediaType": kind,
        "digest": digest_of(json).to_string(),
        "size": json.len(),
    });
    for (key, value) in more.as_object().unwrap() {
        descriptor[key] = value.clone();
    }
    descriptor
}

impl Multi {
    fn new() -> Self {
        let amd = pretty(&manifest(layout::LAYERS[0].0));
        let arm = pretty(&manifest(layout::LAYERS[1].0));
        let attestation = pretty(&json!({
            "schemaVersion": 2,
            "mediaType": media_types::MANIFEST,
            "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
            "config": {"mediaType": media_types::IMAGE_CONFIG, "digest": format!("sha256:{CONFIG}"), "size": 248},
            "layers": [{"mediaType": "application/vnd.in-toto+json", "digest": format!("sha256:{CONFIG}"), "size": 9}],
            "subject": {"mediaType": media_types::DOCKER_MANIFEST, "digest": digest_of(&amd).to_string(), "size": amd.len()},
        }));
        let index = pretty(&json!({
            "schemaVersion": 2,
            "mediaType": media_types::DOCKER_LIST,
            "manifests": [
                listed(&amd, media_types::DOCKER_MANIFEST, json!({
                    "platform": {"os": "linux", "architecture": "amd64"},
                    "annotations": {"only": "here"},
                    "data": "e30=",
                    "urls": ["https://example.com/old"],
                })),
                listed(&arm, media_types::DOCKER_MANIFEST, json!({
                    "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
                })),
                listed(&attestation, media_types::MANIFEST, json!({
                    "platform": {"os": "unknown", "architecture": "unknown"},
                    "annotations": {
                        "vnd.docker.reference.type": "attestation-manifest",
                        "vnd.docker.reference.digest": digest_of(&amd).to_string(),
                    },
                })),
            ],
            "unknown": {},
        }));
        Self {
            amd,
            arm,
            attestation,
            index,
        }
    }

    fn convert(&self, indexed: &[Indexed]) -> Converted {
        let store = store([&self.amd, &self.arm, &self.attestation]);
        let image = Image::from_index(&self.index).unwrap();
        image.convert(&store, indexed).unwrap()
    }
}

#[test]
fn every_platform_gets_its_index_after_all_images() {
    let multi = Multi::new();
    let (a, b) = (b"index a".as_slice(), b"index b".as_slice());
    let converted = multi.convert(&[
        indexed(&multi.amd, "linux/amd64", a),
        indexed(&multi.arm, "linux/arm64", b),
    ]);
    let list = manifests(&converted);
    assert_eq!(list.len(), 5);
    for (image, soci, built) in [(0, 3, a), (1, 4, b)] {
        let index = digest_of(built).to_string();
        assert_eq!(list[image]["mediaType"], media_types::MANIFEST);
        assert_eq!(
            list[image]["annotations"],
            json!({"com.amazon.soci.index-digest": index})
        );
        assert_eq!(list[soci]["digest"], index);
        assert_eq!(list[soci]["artifactType"], media_types::INDEX_V2);
        let named = json!({"com.amazon.soci.image-manifest-digest": list[image]["digest"]});
        assert_eq!(list[soci]["annotations"], named);
    }
    // The platform that was asked for, not that of the image.
    assert_eq!(list[1]["platform"]["variant"], "v8");
    assert_eq!(
        list[4]["platform"],
        json!({"architecture": "arm64", "os": "linux"})
    );
    // What held the old content is gone.
    assert_eq!((list[0].get("data"), list[0].get("urls")), (None, None));
    let images: Vec<_> = converted
        .manifests
        .iter()
        .map(|m| m.original.clone())
        .collect();
    assert_eq!(
        images,
        [&multi.amd, &multi.arm, &multi.attestation].map(|json| digest_of(json))
    );
    for rewritten in &converted.manifests {
        assert_eq!(digest_of(&rewritten.json), rewritten.digest);
    }
}

#[test]
fn attestations_stay_tied_to_their_image() {
    let multi = Multi::new();
    let converted = multi.convert(&[indexed(&multi.amd, "linux/amd64", b"index")]);
    let list = manifests(&converted);
    let attestation = &list[2];
    let annotations = attestation["annotations"].as_object().unwrap();
    assert_eq!(
        annotations["vnd.docker.reference.type"],
        "attestation-manifest"
    );
    assert_eq!(
        annotations["vnd.docker.reference.digest"],
        list[0]["digest"]
    );
    let rewritten = &converted.manifests[2];
    assert_eq!(attestation["digest"], rewritten.digest.to_string());
    let json: Value = serde_json::from_slice(&rewritten.json).unwrap();
    assert_eq!(json["subject"]["digest"], list[0]["digest"]);
    assert_eq!(json["subject"]["size"], list[0]["size"]);
    assert_eq!(
        json["artifactType"],
        "application/vnd.docker.attestation.manifest.v1+json"
    );
    assert_eq!(
        json["layers"][0]["mediaType"],
        "application/vnd.in-toto+json"
    );
}

#[test]
fn a_converted_image_can_be_converted_for_some_of_its_platforms() {
    let multi = Multi::new();
    let (a, b) = (b"index a".as_slice(), b"index b".as_slice());
    let first = multi.convert(&[
        indexed(&multi.amd, "linux/amd64", a),
        indexed(&multi.arm, "linux/arm64", b),
    ]);
    let json: Vec<&[u8]> = first.manifests.iter().map(|m| m.json.as_slice()).collect();
    let store = store([json[0], json[1], json[2], a, b]);
    let image = Image::from_index(&first.json).unwrap();
    // The same index for one of them changes nothing, although the other's is at hand and no manifest.
    let again = image
        .convert(&store, &[indexed(json[0], "linux/amd64", a)])
        .unwrap();
    assert_eq!(again.digest, first.digest);
    // Another one takes the place of the old one.
    let c = b"index c".as_slice();
    let changed = image
        .convert(&store, &[indexed(json[0], "linux/amd64", c)])
        .unwrap();
    let (before, after) = (manifests(&first), manifests(&changed));
    assert_eq!(after.len(), 5);
    assert_eq!(after[3]["digest"], digest_of(c).to_string());
    assert_eq!((&after[1], &after[4]), (&before[1], &before[4]));
    assert_eq!(
        after[2]["annotations"]["vnd.docker.reference.digest"],
        after[0]["digest"]
    );
}

#[test]
fn an_index_listed_before_its_image_moves_behind_it() {
    let image = layout::after(CONVERTED_IMAGE);
    let soci = layout::after(SOCI_INDEX);
    let mut reversed: Value = serde_json::from_slice(&layout::after(CONVERTED)).unwrap();
    reversed["manifests"].as_array_mut().unwrap().reverse();
    let source = Image::from_index(&pretty(&reversed)).unwrap();
    let converted = source
        .convert(
            &store([&image, &soci]),
            &[indexed(&image, "linux/amd64", &soci)],
        )
        .unwrap();
    assert_eq!(converted.digest, layout::digest(CONVERTED));
}

#[test]
fn an_index_of_an_image_that_is_gone_is_replaced_by_platform() {
    let image = layout::after(CONVERTED_IMAGE);
    let soci = b"new index".as_slice();
    let old = String::from_utf8(layout::after(CONVERTED)).unwrap();
    let (key, zeros) = ("image-manifest-digest\":\"sha256:", "0".repeat(64));
    let old = old.replace(&format!("{key}{CONVERTED_IMAGE}"), &format!("{key}{zeros}"));
    let source = Image::from_index(old.as_bytes()).unwrap();
    let converted = source
        .convert(&store([&image]), &[indexed(&image, "linux/amd64", soci)])
        .unwrap();
    let list = manifests(&converted);
    assert_eq!(list.len(), 2);
    assert_eq!(list[1]["digest"], digest_of(soci).to_string());
}

#[test]
fn two_images_of_one_platform_keep_an_index_each() {
    let multi = Multi::new();
    let linux = json!({"platform": {"os": "linux", "architecture": "amd64"}});
    let index = pretty(&json!({"schemaVersion": 2, "manifests": [
        listed(&multi.amd, media_types::DOCKER_MANIFEST, linux.clone()),
        listed(&multi.arm, media_types::DOCKER_MANIFEST, linux),
    ]}));
    let (a, b) = (b"index a".as_slice(), b"index b".as_slice());
    let first = Image::from_index(&index)
        .unwrap()
        .convert(
            &store([&multi.amd, &multi.arm]),
            &[indexed(&multi.arm, "linux/amd64", b)],
        )
        .unwrap();
    let json: Vec<&[u8]> = first.manifests.iter().map(|m| m.json.as_slice()).collect();
    let second = Image::from_index(&first.json)
        .unwrap()
        .convert(
            &store([json[0], json[1]]),
            &[indexed(json[0], "linux/amd64", a)],
        )
        .unwrap();
    let list = manifests(&second);
    let digests: Vec<_> = list[2..]
        .iter()
        .map(|d| d["digest"].as_str().unwrap())
        .collect();
    assert_eq!(digests, [digest_of(b).as_ref(), digest_of(a).as_ref()]);
}

#[test]
fn artifacts_and_nested_indexes_stay_as_they_are() {
    let multi = Multi::new();
    let artifact = pretty(&json!({
        "schemaVersion": 2, "mediaType": media_types::MANIFEST,
        "config": {"mediaType": "application/vnd.cncf.helm.config.v1+json", "digest": format!("sha256:{CONFIG}"), "size": 2},
        "layers": [],
    }));
    let descriptors = [
        listed(&multi.index, media_types::IMAGE_INDEX, json!({})),
        listed(
            &artifact,
            media_types::MANIFEST,
            json!({"annotations": {"a": "b"}}),
        ),
        listed(&multi.amd, media_types::DOCKER_MANIFEST, json!({})),
    ];
    let index = pretty(&json!({"schemaVersion": 2, "manifests": descriptors}));
    let source = Image::from_index(&index).unwrap();
    // The image is not at hand, and nobody asked for it.
    let converted = source
        .convert(&store([&multi.index, &artifact]), &[])
        .unwrap();
    assert_eq!(manifests(&converted), descriptors);
    assert_eq!(converted.manifests.len(), 0);
}

#[test]
fn what_was_asked_for_and_cannot_be_done_is_an_error() {
    let multi = Multi::new();
    let image = Image::from_index(&multi.index).unwrap();
    let wanted = [indexed(&multi.amd, "linux/amd64", b"index")];
    let missing = image.convert(&HashMap::new(), &wanted);
    assert!(
        matches!(missing, Err(Error::MissingManifest(_))),
        "{missing:?}"
    );
    let other = [indexed(&multi.attestation, "linux/amd64", b"index")];
    let refused = image.convert(&store([&multi.attestation]), &other);
    assert!(
        matches!(refused, Err(Error::NotAnImage { .. })),
        "{refused:?}"
    );
    let mut store = store([&multi.amd]);
    store.insert(digest_of(&multi.amd), multi.arm.clone());
    let refused = image.convert(&store, &wanted);
    assert!(
        matches!(refused, Err(Error::NotAnImage { .. })),
        "{refused:?}"
    );
    for json in [
        "",
        "{}",
        "[]",
        r#"{"manifests":[{}]}"#,
        r#"{"manifests":[{"digest":"x","size":1}]}"#,
    ] {
        assert!(Image::from_index(json.as_bytes()).is_err(), "{json}");
    }
    let twice = br#"{"schemaVersion":2,"config":{"digest":"a","size":1},"layers":[],"layers":[]}"#;
    assert!(matches!(
        convert_manifest(twice, None),
        Err(Error::Json { .. })
    ));
    assert!(Image::from_index(&multi.amd).is_err());
}

#[test]
fn platforms_are_compared_as_containerd_does() {
    for (one, other, same) in [
        ("linux/amd64", "linux/x86_64", true),
        ("linux/arm64/v8", "linux/arm64", true),
        ("linux/aarch64", "linux/arm64", true),
        ("linux/arm", "linux/arm/v7", true),
        ("linux/arm/v6", "linux/arm/v7", false),
        ("linux/amd64/v2", "linux/amd64", false),
        ("windows/amd64", "linux/amd64", false),
    ] {
        assert_eq!(
            platform(one).is_same(&platform(other)),
            same,
            "{one} {other}"
        );
    }
    let arm = br#"{"architecture":"arm64","os":"linux","variant":"v8","rootfs":{}}"#;
    assert_eq!(Platform::from_config(arm).unwrap(), platform("linux/arm64"));
    assert!(Platform::from_config(b"{}").is_err());
}

#[test]
fn manifests_lose_what_go_does_not_know_and_keep_the_rest() {
    let json = br#"{ "layers":null, "config":{"size":2,"digest":"sha256:00","mediaType":"x","platform":null,
        "annotations":{"b":"&","a":"\u2028"}}, "annotations":{}, "artifactType":"a/b", "subject":{"digest":"d","size":3,
        "urls":["u"],"data":"e30=","artifactType":"t","platform":{"variant":"v","os":"o","architecture":"a",
        "os.features":["f"],"os.version":"1","other":1}},"extra":1}"#;
    let converted = convert_manifest(json, Some(&layout::digest(SOCI_INDEX))).unwrap();
    let expected = format!(
        concat!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"a/b","#,
            r#""config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:00","size":2,"#,
            r#""annotations":{{"a":"\u2028","b":"\u0026"}}}},"layers":null,"subject":{{"mediaType":"","digest":"d","#,
            r#""size":3,"urls":["u"],"data":"e30=","platform":{{"architecture":"a","os":"o","os.version":"1","#,
            r#""os.features":["f"],"variant":"v"}},"artifactType":"t"}},"annotations":{{"com.amazon.soci.index-digest":"sha256:{}"}}}}"#
        ),
        SOCI_INDEX
    );
    assert_eq!(String::from_utf8(converted).unwrap(), expected);
}
