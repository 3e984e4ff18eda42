//! SOCI index manifests: the one of the reference tool, and what can be wrong with one.

use soci::check::check_index;
use soci::finding::Severity;
use soci::{canonical, media_types};

use crate::fixture;

const IMAGE: &str =
    "oci-single-out/blobs/sha256/05010dc8019a007cbd2faa3ef1082c3e0c418723af41cc1cecc30869dac5f924";
const INDEX: &str =
    "oci-single-out/blobs/sha256/fabb8bb959d83de6078b212d0df8ca176433014d8aa61d0754bb3109d56f5bba";
const LAYER: &str = "sha256:4c4e733498fea5eb8bfb14b449439975af3a813ba35a27ad7717a825987c5cc4";

fn index() -> String {
    String::from_utf8(fixture::read(INDEX)).unwrap()
}

fn codes(json: &str, image: Option<&[u8]>) -> Vec<&'static str> {
    let found = check_index(json.as_bytes(), image);
    found.iter().map(|finding| finding.code).collect()
}

/// Replaces `from` by `to` in the tool's index; the first is what must be found.
fn check(from: &str, to: &str, expected: &str) {
    let index = index();
    assert!(index.contains(from), "{from}");
    let changed = index.replacen(from, to, 1);
    let found = codes(&changed, Some(&image_naming(&changed)));
    assert!(found.contains(&expected), "{from} -> {to}: {found:?}");
}

/// The tool's image, made to name another index.
fn image_naming(index: &str) -> Vec<u8> {
    let old = canonical::digest(&fixture::read(INDEX))
        .unwrap()
        .to_string();
    let new = canonical::digest(index.as_bytes()).unwrap().to_string();
    let image = String::from_utf8(fixture::read(IMAGE)).unwrap();
    image.replace(&old, &new).into_bytes()
}

#[test]
fn the_index_of_the_tool_is_right_but_for_old_readers() {
    let image = fixture::read(IMAGE);
    assert_eq!(codes(&index(), Some(&image)), ["prefetch-old-readers"]);
    assert_eq!(codes(&index(), None), ["prefetch-old-readers"]);
}

#[test]
fn every_form_that_aws_would_write_otherwise_is_found() {
    check(
        r#""config""#,
        r#""artifactType":"application/vnd.amazon.soci.index.v2+json","config""#,
        "not-canonical",
    );
    check(r#""config""#, r#""subject":null,"config""#, "not-canonical");
    check(
        r#""size":2}"#,
        r#""size":2,"annotations":{}}"#,
        "not-canonical",
    );
    check(r#""config""#, r#" "config""#, "not-canonical");
    check("AWS SOCI", "<AWS> SOCI", "not-canonical");
    check(
        r#""schemaVersion":2"#,
        r#""schemaVersion":3"#,
        "not-canonical",
    );
    check("image.manifest.v1", "image.manifest.v2", "not-canonical");
    let newline = format!("{}\n", index());
    assert_eq!(codes(&newline, None)[0], "not-canonical");
    let found = check_index(
        index()
            .replace(r#""config""#, r#""artifactType":"x","config""#)
            .as_bytes(),
        None,
    );
    assert!(found[0].text.contains("artifactType"), "{found:?}");
}

#[test]
fn what_points_nowhere_is_found() {
    check(LAYER, &LAYER.replace('4', "5"), "layer-unknown");
    check(LAYER, "sha256:12", "layer-annotation");
    check(
        "com.amazon.soci.image-layer-digest",
        "com.amazon.soci.image-layer-digits",
        "layer-annotation",
    );
    check("sha256:567c", "sha256:567C", "digest-malformed");
    check("sha256:44136fa3", "sha256:44136fa4", "config-blob");
    check(media_types::INDEX_V2, media_types::INDEX_V1, "subject");
    check(
        media_types::INDEX_V2,
        media_types::IMAGE_CONFIG,
        "config-type",
    );
    let image = fixture::read(IMAGE);
    let other = index().replace("CLI v0.2", "CLI v0.3");
    assert!(codes(&other, Some(&image)).contains(&"index-annotation"));
    let plain = String::from_utf8(image)
        .unwrap()
        .replace("com.amazon.soci.index-digest", "x");
    assert!(codes(&index(), Some(plain.as_bytes())).contains(&"index-annotation"));
}

#[test]
fn annotations_that_say_something_else_are_found() {
    check(
        r#""com.amazon.soci.span-size":"4194304""#,
        r#""com.amazon.soci.span-size":"04""#,
        "span-size",
    );
    check(
        r#","com.amazon.soci.span-size":"4194304""#,
        "",
        "annotation-missing",
    );
    check("layer.v1.tar+gzip", "layer.v1.tar", "layer-media-type");
    check(
        r#"disable-xattrs":"true""#,
        r#"disable-xattrs":"yes""#,
        "disable-xattrs",
    );
    check(
        r#"disable-xattrs":"true""#,
        r#"disable-xattrs":"T""#,
        "disable-xattrs",
    );
    check("build-tool-identifier", "built-by", "build-tool");
}

#[test]
fn sizes_and_repetitions_are_found() {
    check(r#""size":33360"#, r#""size":333600000"#, "size-limit");
    check(r#""size":66"#, r#""size":66000000"#, "size-limit");
    check(
        "sha256:97052f15efc5dd1ee76cb3278294d34b33e263b1114622921a759b797218d0c1",
        LAYER,
        "duplicate",
    );
    check(
        "sha256:97052f15efc5dd1ee76cb3278294d34b33e263b1114622921a759b797218d0c1",
        LAYER,
        "not-indexed",
    );
    check("application/octet-stream", "text/plain", "blob-type");
    check(
        "application/octet-stream",
        "text/plain",
        "prefetch-without-ztoc",
    );
    let none = index().replace("application/octet-stream", "text/plain");
    assert!(codes(&none, None).contains(&"empty-index"));
}

#[test]
fn a_v1_index_is_held_to_its_subject() {
    let image = fixture::read(IMAGE);
    let digest = canonical::digest(&image).unwrap();
    let v1 = index().replace(media_types::INDEX_V2, media_types::INDEX_V1);
    let with = |digest: &str, size: usize, kind: &str| {
        let subject = format!(
            r#""subject":{{"mediaType":"{kind}","digest":"{digest}","size":{size}}},"annotations":{{"com.amazon.soci.build"#
        );
        v1.replace(r#""annotations":{"com.amazon.soci.build"#, &subject)
    };
    let (len, kind) = (image.len(), media_types::MANIFEST);
    let right = with(digest.as_ref(), len, kind);
    assert_eq!(codes(&right, Some(&image)), ["prefetch-old-readers"]);
    for wrong in [
        with(LAYER, len, kind),
        with(digest.as_ref(), len + 1, kind),
        with(digest.as_ref(), len, media_types::DOCKER_MANIFEST),
    ] {
        assert!(codes(&wrong, Some(&image)).contains(&"subject"), "{wrong}");
    }
    let v2 = right.replace(media_types::INDEX_V1, media_types::INDEX_V2);
    assert!(codes(&v2, Some(&image)).contains(&"subject"));
}

#[test]
fn anything_else_is_refused() {
    for json in ["", "{}", "[]", "null", "\u{feff}{}"] {
        let found = check_index(json.as_bytes(), None);
        assert_eq!(
            (found[0].severity, found[0].code),
            (Severity::Error, "index-refused"),
            "{json}"
        );
    }
    let image = codes(&index(), Some(b"no manifest"));
    assert!(image.contains(&"manifest-refused"));
}

#[test]
fn every_character_counts() {
    // Whatever one character becomes, the digest no longer is what the image names.
    let image = fixture::read(IMAGE);
    let index = index().into_bytes();
    for at in 0..index.len() {
        let mut changed = index.clone();
        changed[at] ^= 1;
        let found = check_index(&changed, Some(&image));
        let codes: Vec<_> = found.iter().map(|finding| finding.code).collect();
        assert!(
            codes.contains(&"index-annotation") || codes.contains(&"index-refused"),
            "byte {at}: {codes:?}"
        );
    }
}
