//! With a profile spans are fine where starts read, and no zTOC gets larger for it.

use std::io::Write;
use std::ops::Range;

use flate2::write::GzEncoder;
use proptest::prelude::*;
use soci::build::{BuildOptions, Builder, Built, Compression, Cuts};
use soci::check::{LayerCheck, LayerFacts};
use soci::profile::{FirstRead, LayerProfile};
use soci::spans::SpanId;
use soci::ztoc::{Limits, Ztoc};

use crate::layer::{TOOL, build_gzip, build_tar, file, fixture, gzip, noise, tar};
use crate::spans::check;

const MIB: u64 = 1 << 20;

fn profile(reads: &[Range<u64>]) -> LayerProfile {
    let reads = reads.iter().cloned();
    LayerProfile::new(reads.map(|tar| FirstRead { tar, at_ms: 0 }))
}

fn build<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    compression: Compression,
    cuts: Cuts,
) -> Built {
    let mut builder = Builder::new(&BuildOptions {
        cuts,
        build_tool: TOOL.to_owned(),
        compression,
    })
    .unwrap();
    for piece in pieces {
        builder.push(piece).unwrap();
    }
    builder.finish().unwrap()
}

/// Bytes that have to be fetched for these ranges of the tar.
fn needed(built: &Built, reads: &[Range<u64>]) -> u64 {
    let spans = Ztoc::parse(&built.ztoc, &Limits::default()).unwrap().spans;
    let mut wanted: Vec<u32> = reads
        .iter()
        .flat_map(|r| spans.covering(r.clone()))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    let lengths = wanted.iter().map(|span| {
        let range = spans.compressed(SpanId(*span)).unwrap();
        range.end - range.start
    });
    lengths.sum()
}

/// What `soci verify` finds.
fn verify(built: &Built, blob: &[u8]) {
    let facts = LayerFacts {
        layer: built.layer_digest.clone(),
        size: blob.len() as u64,
        ztoc: built.digest.clone(),
        ztoc_size: built.ztoc.len() as u64,
        span_size: Some(built.span_size),
        disable_xattrs: false,
    };
    let mut check = LayerCheck::new(&built.ztoc, facts, &Limits::default());
    check.push(blob);
    let findings = check.finish();
    assert!(findings.is_empty(), "{findings:?}");
}

fn layer(mib: usize) -> (Vec<u8>, Vec<u8>) {
    let content = tar(&[
        file("a", &noise(mib << 19, 1)),
        file("b", &noise(mib << 19, 2)),
    ]);
    let blob = gzip(&content);
    (content, blob)
}

#[test]
fn a_start_fetches_less_from_an_index_that_is_no_larger() {
    let (content, blob) = layer(32);
    // Two pieces that are far from each other, one at the end of the layer.
    let reads = [
        5 * MIB..6 * MIB,
        20 * MIB + 1000..20 * MIB + 70_000,
        31 * MIB..32 * MIB,
    ];
    let cuts = Cuts::around(&profile(&reads), 4 * MIB);
    let built = build([&blob[..]], Compression::Gzip, cuts);
    let plain = build_gzip(&blob, 4 * MIB).unwrap();
    check(&built, &blob, &content);
    verify(&built, &blob);
    assert!(
        built.spans <= plain.spans,
        "{} {}",
        built.spans,
        plain.spans
    );
    assert!(built.ztoc.len() <= plain.ztoc.len());
    let (fine, coarse) = (needed(&built, &reads), needed(&plain, &reads));
    assert!(fine * 5 < coarse * 2, "{fine} {coarse}");
    // What the kernel reads ahead of a reader is there too.
    let ahead = reads.map(|read| read.start - 4096..(read.end + (128 << 10)).min(32 * MIB));
    assert_eq!(needed(&built, &ahead), fine);
    assert_eq!(built.layer_digest, plain.layer_digest);
}

#[test]
fn what_is_read_is_cut_coarser_until_the_index_is_no_larger() {
    let (content, blob) = layer(16);
    let every_other = (0..16).map(|n| n * MIB..n * MIB + 65_536);
    let reads: Vec<_> = every_other.collect();
    let everything = vec![0..9 * MIB, 9 * MIB..16 * MIB];
    for reads in [reads, everything] {
        for span_size in [64 << 10, 256 << 10, MIB, 4 * MIB] {
            let cuts = Cuts::around(&profile(&reads), span_size);
            let built = build([&blob[..]], Compression::Gzip, cuts);
            let plain = build_gzip(&blob, span_size).unwrap();
            check(&built, &blob, &content);
            assert!(built.ztoc.len() <= plain.ztoc.len(), "{span_size}");
            let (fine, coarse) = (needed(&built, &reads), needed(&plain, &reads));
            assert!(fine <= coarse, "{span_size}: {fine} {coarse}");
        }
    }
}

#[test]
fn without_reads_nothing_changes() {
    for name in [
        "pax.tar.gz",
        "multi-2.tar.gz",
        "stored.tar.gz",
        "gnu.tar.gz",
    ] {
        let blob = fixture(name);
        let cuts = Cuts::around(&LayerProfile::default(), 131_072);
        let built = build([&blob[..]], Compression::Gzip, cuts);
        assert!(built == build_gzip(&blob, 131_072).unwrap(), "{name}");
    }
}

#[test]
fn a_plain_tar_keeps_spans_of_one_size() {
    let content = tar(&[file("a", &noise(1 << 20, 1))]);
    let cuts = Cuts::around(
        &profile(&std::array::from_fn::<_, 1, _>(|_| 0..100)),
        100_000,
    );
    let built = build([&content[..]], Compression::Tar, cuts);
    assert!(built == build_tar(&content, 100_000).unwrap());
}

#[test]
fn a_profile_of_another_layer_does_no_harm() {
    let (content, blob) = layer(8);
    let reads = [
        0..1,
        7 * MIB..9 * MIB,
        1 << 40..1 << 41,
        (i64::MAX - 1) as u64..i64::MAX as u64,
    ];
    let cuts = Cuts::around(&profile(&reads), MIB);
    let built = build([&blob[..]], Compression::Gzip, cuts);
    check(&built, &blob, &content);
    assert!(built.spans <= build_gzip(&blob, MIB).unwrap().spans);
}

/// Deflate blocks of very different lengths.
fn stream(pieces: &[(usize, u32, bool)]) -> (Vec<u8>, Vec<u8>) {
    let mut content = Vec::new();
    let (mut blob, mut encoder) = (
        Vec::new(),
        GzEncoder::new(Vec::new(), flate2::Compression::fast()),
    );
    for (len, seed, is_member_end) in pieces {
        let start = content.len();
        // Zeros make blocks of megabytes.
        let data = match seed {
            0 => vec![0; len * 8],
            seed => noise(*len, *seed),
        };
        content.extend(file("a", &data));
        encoder.write_all(&content[start..]).unwrap();
        if *is_member_end {
            blob.extend(encoder.finish().unwrap());
            encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
        }
    }
    content.resize(content.len() + 1024, 0);
    encoder.write_all(&[0; 1024]).unwrap();
    blob.extend(encoder.finish().unwrap());
    (content, blob)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_cut_layer_reads_back_and_is_no_larger(
        pieces in prop::collection::vec((0usize..900_000, 0u32..6, any::<bool>()), 1..8),
        reads in prop::collection::vec((0u64..6_000_000, 1u64..300_000), 1..12),
        sizes in prop::collection::vec(1usize..70_000, 1..8),
        span_size in prop::sample::select(vec![0u64, 1, 30_000, 300_000, 1 << 20]),
    ) {
        let (content, blob) = stream(&pieces);
        let reads: Vec<_> = reads.iter().map(|(start, len)| *start..start + len).collect();
        let cuts = Cuts::around(&profile(&reads), span_size);
        let built = build([&blob[..]], Compression::Gzip, cuts.clone());
        check(&built, &blob, &content);
        let plain = build_gzip(&blob, span_size).unwrap();
        prop_assert!(built.spans <= plain.spans, "{} {}", built.spans, plain.spans);
        prop_assert!(built.ztoc.len() <= plain.ztoc.len());
        // The size of the pieces a blob arrives in does not show.
        let mut cut = Vec::new();
        let mut rest = &blob[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, tail) = rest.split_at((*size).min(rest.len()));
            cut.push(piece);
            rest = tail;
        }
        prop_assert!(build(cut, Compression::Gzip, cuts) == built);
    }
}
