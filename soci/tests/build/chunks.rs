//! The size of the pieces a blob arrives in does not show.

use proptest::prelude::*;
use soci::build::Compression::{self, Gzip, Tar};

use crate::layer::{build_pieces, fixture, gzip, noise};

/// Cuts `blob` into pieces of these sizes, over and over.
fn check(blob: &[u8], sizes: &[usize], compression: Compression, span_size: u64) {
    let mut pieces = Vec::new();
    let mut rest = blob;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, tail) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = tail;
    }
    let whole = build_pieces([blob], compression, span_size);
    let built = build_pieces(pieces, compression, span_size);
    assert!(built == whole, "pieces of {sizes:?}");
}

#[test]
fn a_blob_may_arrive_byte_by_byte() {
    for layer in ["pax.tar.gz", "multi-2.tar.gz", "stored.tar.gz"] {
        check(&fixture(layer), &[1], Gzip, 128 << 10);
    }
    check(&fixture("pax.tar"), &[1], Tar, 128 << 10);
}

#[test]
fn empty_pieces_change_nothing() {
    let blob = fixture("gnu.tar.gz");
    let (start, end) = blob.split_at(1_000);
    let pieces = [&[][..], start, &[], end, &[]];
    let built = build_pieces(pieces, Gzip, 128 << 10).unwrap();
    assert!(*built.ztoc == fixture("gnu.ztoc"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_size_build_the_same(
        sizes in prop::collection::vec(prop_oneof![1usize..20, 1usize..70_000], 1..20),
        layer in prop::sample::select(vec!["pax.tar.gz", "multi-2.tar.gz", "stored.tar.gz", "gnu.tar.gz"]),
        span_size in prop::sample::select(vec![0u64, 1, 40_000, 131_072]),
    ) {
        check(&fixture(layer), &sizes, Gzip, span_size);
    }

    #[test]
    fn plain_tars_build_the_same(
        sizes in prop::collection::vec(1usize..9_000, 1..20),
        span_size in 1_000u64..200_000,
    ) {
        check(&fixture("pax.tar"), &sizes, Tar, span_size);
    }

    /// Blocks of every kind, short and long, in members of every length.
    #[test]
    fn streams_of_any_shape_build_the_same(
        members in prop::collection::vec((0usize..40_000, 0u32..10), 1..12),
        sizes in prop::collection::vec(1usize..300, 1..8),
        span_size in 0u64..50_000,
    ) {
        let mut blob = Vec::new();
        let mut content = Vec::new();
        for (len, seed) in members {
            let start = content.len();
            content.extend(crate::layer::file("a", &noise(len, seed)));
            blob.extend(gzip(&content[start..]));
        }
        check(&blob, &sizes, Gzip, span_size);
    }
}
