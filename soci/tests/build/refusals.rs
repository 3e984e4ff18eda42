//! Layers that no zTOC serves are left without one, and the reason is given.

use std::io::Write;

use soci::build::BuildError::{self, Limit, SpanSize, Unsupported};
use soci::build::Builder;
use soci::build::Compression::{Gzip, Tar};

use crate::layer::{
    Header, build_gzip, build_tar, empty, file, fixture, gzip, noise, options, pax, tar,
};

fn check(result: Result<soci::build::Built, BuildError>, reason: &str) {
    match result {
        Err(Unsupported { what }) => assert!(what.contains(reason), "{what}"),
        other => panic!("{other:?}, expected: {reason}"),
    }
}

fn check_members(members: &[Vec<u8>], reason: &str) {
    check(build_tar(&tar(members), 4 << 20), reason);
    check(build_gzip(&gzip(&tar(members)), 4 << 20), reason);
}

#[test]
fn members_that_the_reference_builds_wrong_or_not_at_all_are_refused() {
    check(
        build_gzip(&fixture("neg-pax-global.tar.gz"), 4 << 20),
        "PAX global header",
    );
    check_members(&[empty("a", b'7')], "contiguous file");
    check_members(&[empty("a", b'S')], "sparse file in old GNU format");
    check_members(&[empty("a", b'V')], "tar type 'V'");
    let sparse = pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0")]);
    check_members(&[sparse, file("a", b"x")], "sparse file in PAX format");
}

#[test]
fn empty_extended_attributes_are_refused() {
    let records = pax(&[("SCHILY.xattr.user.a", b""), ("SCHILY.xattr.user.b", b"1")]);
    check_members(
        &[records, file("a", b"x")],
        "a has an empty extended attribute user.a",
    );
    // Other records may be empty.
    let records = pax(&[("comment", b""), ("uname", b"")]);
    let built = build_tar(&tar(&[records, file("a", b"x")]), 4 << 20);
    assert!(built.is_ok(), "{built:?}");
}

#[test]
fn times_that_no_ztoc_can_say_are_refused() {
    let reason = "a was modified outside the years 0 to 9999";
    let at = |mtime: &[u8]| [pax(&[("mtime", mtime)]), file("a", b"x")];
    check_members(&at(b"253402300800"), reason);
    check_members(&at(b"-62167219200.5"), reason);
    assert!(build_tar(&tar(&at(b"253402300799.999999999")), 4 << 20).is_ok());
    assert!(build_tar(&tar(&at(b"-62167219200")), 4 << 20).is_ok());
}

#[test]
fn bytes_behind_the_last_gzip_member_are_refused() {
    let blob = gzip(&tar(&[file("a", b"x")]));
    for tail in [
        &[0][..],
        &[0; 512],
        b"\x1fgarbage that is long enough",
        b"\x28\xb5\x2f\xfd and more bytes",
    ] {
        check(
            build_gzip(&[&blob, tail].concat(), 4 << 20),
            "follow its last member",
        );
    }
}

#[test]
fn other_compressions_are_refused() {
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[0; 100]].concat();
    check(build_gzip(&zstd, 4 << 20), "compressed with zstd");
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
    zlib.write_all(&tar(&[file("a", b"x")])).unwrap();
    check(
        build_gzip(&zlib.finish().unwrap(), 4 << 20),
        "compressed as zlib, not as gzip",
    );
    check(build_tar(b"", 4 << 20), "it is empty");
}

#[test]
fn spans_longer_than_readers_hold_are_refused() {
    let huge = tar(&[file("a", &vec![0; 65 << 20])]);
    let reason = "one of its spans exceeds 64 MiB";
    check(build_gzip(&gzip(&huge), 65 << 20), reason);
    check(build_tar(&huge, 65 << 20), reason);
    let built = build_gzip(&gzip(&huge), 4 << 20);
    assert_eq!(built.unwrap().files, 1);
    assert!(build_tar(&huge, 64 << 20).is_ok());
}

#[test]
fn more_spans_than_a_ztoc_holds_are_refused() {
    // 32 KiB for each of 20 000 spans would be 640 MiB.
    let members: Vec<_> = (0..20_000).map(|_| gzip(&[0; 1])).collect();
    let blob = [gzip(&tar(&[])), members.concat()].concat();
    match build_gzip(&blob, 0) {
        Err(Limit { what, limit, .. }) => {
            assert_eq!((what, limit), ("bytes of its zTOC", 256 << 20));
        }
        other => panic!("{:?}", other.map(|built| built.spans)),
    }
    assert!(build_gzip(&blob, 4 << 20).is_ok());
    // 84 bytes for each of 4 million.
    let content = tar(&[file("a", &noise(4 << 20, 1))]);
    let built = build_tar(&content, 1);
    assert!(matches!(built, Err(Limit { .. })));
}

#[test]
fn more_names_than_a_ztoc_holds_are_refused_and_the_limit_is_told() {
    let mut builder = Builder::new(&options(Tar, 4 << 20)).unwrap();
    let path = "directory/".repeat(400);
    let built = (0..40_000).try_for_each(|number| {
        let name = format!("{path}{number}");
        let member = [pax(&[("path", name.as_bytes())]), file("a", b"")];
        builder.push(&member.concat())
    });
    let Err(error @ Limit { what, limit, .. }) = built else {
        panic!("{built:?}");
    };
    assert_eq!((what, limit), ("bytes of its zTOC", 256 << 20));
    let said = error.to_string();
    assert!(said.contains("exceeds the limit of 268435456"), "{said}");
}

#[test]
fn span_sizes_that_the_format_cannot_say_are_refused() {
    let refused = |compression, span_size| {
        let builder = Builder::new(&options(compression, span_size));
        assert_eq!(builder.err(), Some(SpanSize(span_size)));
    };
    refused(Tar, 0);
    refused(Tar, 1 << 63);
    refused(Gzip, u64::MAX);
    assert!(Builder::new(&options(Gzip, 0)).is_ok());
}

#[test]
fn names_that_readers_refuse_are_refused() {
    let long = "n".repeat(256);
    let component = [pax(&[("path", long.as_bytes())]), file("a", b"x")];
    check_members(&component, "component longer than 255 bytes");
    let path = "d/".repeat(2_500);
    let path = [pax(&[("path", path.as_bytes())]), file("a", b"x")];
    let built = build_tar(&tar(&path), 4 << 20);
    assert!(
        matches!(built, Err(Limit { limit: 4_096, .. })),
        "{built:?}"
    );
    let device = Header::new("a", b'3', 0).put(329, b"\x80\0\0\x01\0\0\0\0");
    let built = build_tar(&tar(&[device.block().to_vec()]), 4 << 20);
    assert!(
        matches!(&built, Err(BuildError::Malformed { what }) if what.contains("device number")),
        "{built:?}"
    );
}
