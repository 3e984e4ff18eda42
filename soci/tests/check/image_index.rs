//! Converted images.

use std::collections::HashMap;

use oci_spec::image::Digest;
use soci::canonical;
use soci::check::check_image_index;
use soci::media_types;

use crate::fixture;

const CONVERTED: &str =
    "oci-single-out/blobs/sha256/c2dc41bbf9cc91a967d855792471d839c3e90c31c2a9cf9bb746c6acfdcd9859";
const IMAGE: &str = "05010dc8019a007cbd2faa3ef1082c3e0c418723af41cc1cecc30869dac5f924";
const SOCI: &str = "fabb8bb959d83de6078b212d0df8ca176433014d8aa61d0754bb3109d56f5bba";

fn manifests() -> HashMap<Digest, Vec<u8>> {
    let read = |hex: &str| fixture::read(&format!("oci-single-out/blobs/sha256/{hex}"));
    let manifests = [read(IMAGE), read(SOCI)].into_iter();
    manifests
        .map(|bytes| (canonical::digest(&bytes).unwrap(), bytes))
        .collect()
}

fn codes(json: &str) -> Vec<&'static str> {
    let found = check_image_index(json.as_bytes(), &manifests());
    found.iter().map(|finding| finding.code).collect()
}

fn converted() -> String {
    String::from_utf8(fixture::read(CONVERTED)).unwrap()
}

fn check(from: &str, to: &str, expected: &str) {
    let converted = converted();
    assert!(converted.contains(from), "{from}");
    let found = codes(&converted.replacen(from, to, 1));
    assert!(found.contains(&expected), "{from} -> {to}: {found:?}");
}

#[test]
fn the_image_of_the_tool_is_right() {
    assert_eq!(codes(&converted()), [""; 0]);
    assert_eq!(
        check_image_index(converted().as_bytes(), &HashMap::new()),
        []
    );
}

#[test]
fn broken_ties_are_found() {
    let other = "0".repeat(64);
    check(
        &format!("index-digest\":\"sha256:{SOCI}"),
        &format!("index-digest\":\"sha256:{other}"),
        "index-annotation",
    );
    check(
        &format!("manifest-digest\":\"sha256:{IMAGE}"),
        &format!("manifest-digest\":\"sha256:{other}"),
        "image-annotation",
    );
    check(
        "com.amazon.soci.image-manifest-digest",
        "x",
        "image-annotation",
    );
    check("com.amazon.soci.index-digest", "x", "index-annotation");
    check(media_types::INDEX_V2, "x/y", "artifact-type");
    check(r#""size":700"#, r#""size":701"#, "manifest-digest");
    check(r#"amd64"#, "arm64", "platform");
}

#[test]
fn an_image_that_lost_its_index_is_found() {
    let converted = converted();
    let (image, _) = converted
        .split_once(
            r#",{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:fabb"#,
        )
        .unwrap();
    assert_eq!(codes(&format!("{image}]}}")), ["index-annotation"]);
}

#[test]
fn an_index_before_its_image_is_found() {
    let mut index: serde_json::Value = serde_json::from_str(&converted()).unwrap();
    index["manifests"].as_array_mut().unwrap().reverse();
    assert!(codes(&index.to_string()).contains(&"order"));
}
