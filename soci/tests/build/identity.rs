//! The bytes of a zTOC are those of AWS's tool.

use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};
use soci::build::Compression::{self, Gzip, Tar};

use crate::layer::{build_gzip, build_pieces, file, fixture, gzip, link, pax, tar};

/// What a digest of bytes looks like in a manifest.
fn sha256(bytes: &[u8]) -> Digest {
    let hex: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("sha256:{hex}").parse().unwrap()
}

fn check(layer: &str, compression: Compression, span_size: u64, ztoc: &str, digest: &str) {
    let blob = fixture(layer);
    let built = build_pieces([blob.as_slice()], compression, span_size).unwrap();
    assert!(
        *built.ztoc == fixture(ztoc),
        "{layer}: differs from the tool's zTOC"
    );
    assert_eq!(built.digest.to_string(), format!("sha256:{digest}"));
    assert_eq!(built.digest, sha256(&built.ztoc));
    assert_eq!(built.layer_digest, sha256(&blob));
    assert_eq!(built.layer_size, blob.len() as u64);
}

#[test]
fn ztocs_are_those_of_the_reference_to_the_byte() {
    let digest = "073270f9c2484892917a2d4c0abd3b5d75cf49e035bd1490c6dec5cbe9b54881";
    check("tiny.tar", Tar, 4 << 20, "tiny-tar.ztoc", digest);
    let digest = "c5797c82b01d02e28935e024220916b74f653305d280a10032c4dbac77b661ba";
    check("tiny.tar.gz", Gzip, 4 << 20, "tiny-gz.ztoc", digest);
    let digest = "34528d2784a5a5d4d7cdd19198809ea393b5d5d7302f417764b64c3fc745a69f";
    check("pax.tar.gz", Gzip, 128 << 10, "pax.ztoc", digest);
    let digest = "bc26e6fe33433870c29862e22a86a81facf5196c15328b0ae4c7ea4d11d035df";
    check("pax.tar", Tar, 128 << 10, "pax-tar.ztoc", digest);
    let digest = "1f99ee74dd8cba2b73106d01bf5e0514bb44f00f93bef67fe68d13def7b7b4c7";
    check("gnu.tar.gz", Gzip, 128 << 10, "gnu.ztoc", digest);
    let digest = "b0253074379d2c96f8ce16a3f21f1a98d86054d2dc96a5c50c179f0a5e95559b";
    check("multi-2.tar.gz", Gzip, 128 << 10, "multi-2.ztoc", digest);
    let digest = "7ad1841bce7c710df7d83ca45b1ef5aa35436dbc768471a993dc28958574c17d";
    check("stored.tar.gz", Gzip, 128 << 10, "stored.ztoc", digest);
}

#[test]
fn what_the_annotations_of_an_index_need_is_found_out() {
    let facts = |members: &[Vec<u8>]| {
        let built = build_gzip(&gzip(&tar(members)), 4 << 20).unwrap();
        (built.files, built.spans, built.has_xattrs, built.has_opaque)
    };
    let plain = file("a", b"abc");
    assert_eq!(facts(&[]), (0, 1, false, false));
    assert_eq!(
        facts(&[plain.clone(), link("s", b'2', "a")]),
        (2, 1, false, false)
    );
    let attribute = pax(&[("SCHILY.xattr.user.a", b"1")]);
    assert_eq!(facts(&[attribute, plain.clone()]), (1, 1, true, false));
    let other = pax(&[("mtime", b"1.5"), ("LIBARCHIVE.xattr.user.a", b"MQ")]);
    assert_eq!(facts(&[other, plain]), (1, 1, false, false));
    assert_eq!(facts(&[file("d/.wh..wh..opq", b"")]), (1, 1, false, true));
    assert_eq!(facts(&[file("d/.wh.x", b"")]), (1, 1, false, false));
}
