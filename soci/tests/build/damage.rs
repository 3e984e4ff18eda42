//! Broken layers end in an error that says so, at whatever byte they break.

use proptest::prelude::*;
use soci::build::BuildError::{self, Malformed};
use soci::build::Compression::{Gzip, Tar};
use soci::build::{Builder, Compression};

use crate::layer::{build_gzip, build_pieces, build_tar, file, fixture, gzip, noise, options, tar};

fn small() -> Vec<u8> {
    tar(&[file("a", &noise(3_000, 1)), file("b", b"abc")])
}

/// `reason` is part of the message.
fn check(blob: &[u8], compression: Compression, reason: &str) {
    match build_pieces([blob], compression, 1 << 20) {
        Err(Malformed { what }) => assert!(what.contains(reason), "{what}"),
        other => panic!("{other:?}, expected: {reason}"),
    }
}

#[test]
fn a_gzip_stream_cut_anywhere_is_damaged() {
    let blob = [gzip(&small()), gzip(&[0; 100])].concat();
    let first = gzip(&small()).len();
    for len in 0..blob.len() {
        if len == first {
            continue;
        }
        check(&blob[..len], Gzip, "the gzip stream is cut short");
    }
}

#[test]
fn a_tar_cut_inside_a_member_is_damaged() {
    let whole = small();
    let end = whole.len();
    for len in [
        1,
        511,
        513,
        2_000,
        3_511,
        3_585,
        end - 1_024 - 511,
        end - 1_023,
    ] {
        check(&whole[..len], Tar, "tar ends in the middle");
        check(&gzip(&whole[..len]), Gzip, "tar ends in the middle");
    }
    // Without its trailer it is still a tar.
    assert!(build_tar(&whole[..end - 1_024], 1 << 20).is_ok());
}

#[test]
fn wrong_checksums_and_lengths_are_noticed() {
    let blob = gzip(&small());
    let broken = |at: usize, reason| {
        let mut blob = blob.clone();
        blob[at] ^= 1;
        check(&blob, Gzip, reason);
    };
    let end = blob.len();
    broken(end - 1, "does not have the length it says");
    broken(end - 8, "does not match its checksum");
    broken(0, "not compressed with gzip");
    broken(2, "compression method is not deflate");
    check(&small()[100..], Tar, "malformed tar header");
    check(&gzip(&noise(1_000, 1)), Gzip, "malformed tar header");
    check(b"", Gzip, "cut short");
}

fn inflated(blob: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut decoder = flate2::read::MultiGzDecoder::new(blob);
    std::io::Read::read_to_end(&mut decoder, &mut content).unwrap();
    content
}

#[test]
fn an_error_stays() {
    let mut builder = Builder::new(&options(Gzip, 1 << 20)).unwrap();
    let error = builder.push(b"not a gzip stream").unwrap_err();
    assert_eq!(builder.push(&gzip(&small())), Err(error.clone()));
    assert_eq!(builder.finish().unwrap_err(), error);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_is_an_error_or_another_layer(
        layer in prop::sample::select(vec!["tiny.tar.gz", "gnu.tar.gz", "multi-2.tar.gz"]),
        at in any::<prop::sample::Index>(),
        change in 1u8..,
    ) {
        let mut blob = fixture(layer);
        let at = at.index(blob.len());
        let before = build_gzip(&blob, 128 << 10).unwrap();
        blob[at] ^= change;
        if let Ok(built) = build_gzip(&blob, 128 << 10) {
            // Only header fields that mean nothing can change: time, flags, system, name.
            prop_assert!(inflated(&blob) == inflated(&fixture(layer)), "{built:?}");
            prop_assert_ne!(built.layer_digest, before.layer_digest);
        }
    }

    #[test]
    fn a_changed_tar_builds_or_fails(at in any::<prop::sample::Index>(), change in 1u8..) {
        let mut blob = fixture("pax.tar");
        let at = at.index(blob.len());
        blob[at] ^= change;
        let built = build_tar(&blob, 128 << 10);
        prop_assert!(!matches!(built, Err(BuildError::SpanSize(_))));
        prop_assert!(built.is_err() || built.unwrap().layer_size == blob.len() as u64);
    }

    #[test]
    fn any_bytes_behind_a_gzip_header_build_or_fail(
        content in prop::collection::vec(any::<u8>(), 0..2_000),
    ) {
        let blob = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &content].concat();
        // A valid stream without an error would need its checksum.
        prop_assert!(build_gzip(&blob, 0).is_err());
    }
}
