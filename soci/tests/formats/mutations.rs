//! Whatever happens to a byte, a parser answers and does not panic.

use proptest::prelude::*;
use soci::gzip;
use soci::index::SociIndex;
use soci::prefetch;
use soci::spans::SpanId;
use soci::tar::{Scanner, check_member};
use soci::ztoc::{Limits, Ztoc};

use crate::fixture::{self, Layer};

/// Uses everything a zTOC offers, as far as it was accepted.
fn exercise(blob: &[u8]) {
    let Ok(ztoc) = Ztoc::parse(blob, &Limits::default()) else {
        return;
    };
    for (_, entry) in ztoc.toc.iter() {
        let xattrs: usize = entry
            .xattrs()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let held = entry.name().len() + entry.linkname().len() + xattrs;
        assert!(held <= blob.len());
        assert!(entry.header_offset() + 512 <= entry.offset());
        let _ = check_member(blob.get(..512).unwrap_or_default(), &entry);
    }
    let spans = &ztoc.spans;
    for span in (0..spans.len().min(64)).map(SpanId) {
        let compressed = spans.compressed(span).unwrap();
        let uncompressed = spans.uncompressed(span).unwrap();
        assert!(compressed.start <= compressed.end && uncompressed.start <= uncompressed.end);
        assert!(uncompressed.end - uncompressed.start <= Limits::default().span);
        assert!(spans.covering(uncompressed).len() <= 1);
        if let Some(window) = spans.window(span) {
            assert_eq!(
                window.check(fixture::slice(blob, window.blob.clone())),
                Ok(())
            );
        }
    }
}

#[test]
fn a_ztoc_cut_anywhere_is_answered() {
    for name in ["tiny-tar.ztoc", "pax-tar.ztoc"] {
        let blob = fixture::read(name);
        (0..blob.len()).for_each(|len| exercise(&blob[..len]));
    }
    let blob = fixture::read("pax.ztoc");
    (0..blob.len())
        .step_by(997)
        .for_each(|len| exercise(&blob[..len]));
}

#[test]
fn a_ztoc_with_any_bit_flipped_is_answered() {
    for name in ["tiny-tar.ztoc", "pax-tar.ztoc"] {
        let mut blob = fixture::read(name);
        for at in 0..blob.len() {
            for bit in 0..8 {
                blob[at] ^= 1 << bit;
                exercise(&blob);
                blob[at] ^= 1 << bit;
            }
        }
    }
}

/// Values that sit at the edges of what a length or an offset can be.
fn edge() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(4),
        Just(i32::MAX.cast_unsigned()),
        Just(i32::MIN.cast_unsigned()),
        Just(u32::MAX),
        any::<u32>(),
        0..5000_u32,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_ztoc_with_words_replaced_is_answered(
        edits in prop::collection::vec((0..4181_usize, edge()), 1..6),
    ) {
        let mut blob = fixture::read("pax-tar.ztoc");
        for (at, value) in edits {
            blob[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        exercise(&blob);
    }

    #[test]
    fn arbitrary_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        exercise(&bytes);
        let _ = gzip::check_header(&bytes);
        let _ = SociIndex::parse(&bytes);
        let _ = prefetch::parse(&bytes, 3);
        scan(&bytes, 100);
    }

    #[test]
    fn a_tar_with_bytes_replaced_is_answered(
        edits in prop::collection::vec((0..9000_usize, any::<u8>()), 1..20),
        cut in 0..20_000_usize,
        piece in 1..2000_usize,
    ) {
        // The layer starts with headers of every type; the long names and PAX records follow at once.
        let mut tar = fixture::read("pax.tar")[..20_000].to_vec();
        for (at, byte) in edits {
            tar[at] = byte;
            sum(&mut tar, at);
        }
        scan(&tar[..cut], piece);
    }
}

/// Corrects the checksum of the block a change lies in, lest every change be caught by it.
fn sum(tar: &mut [u8], at: usize) {
    let block = &mut tar[at / 512 * 512..][..512];
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

fn scan(tar: &[u8], piece: usize) {
    let mut scanner = Scanner::new(&Limits::default());
    for piece in tar.chunks(piece) {
        if scanner.push(piece).is_err() {
            assert!(scanner.push(b"more").is_err());
            assert!(scanner.finish().is_err());
            return;
        }
    }
    if let Ok(toc) = scanner.finish() {
        for (_, entry) in toc.iter() {
            let header = fixture::slice(tar, entry.header_offset()..entry.offset());
            // A time no zTOC can write counts as absent there, but the scan knows it.
            if entry
                .mtime()
                .is_some_and(|time| (0..1 << 36).contains(&time.seconds))
            {
                assert_eq!(check_member(header, &entry), Ok(()));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_deflate_data_inflate_to_the_length_or_not_at_all(
        span in 0..5_u32,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        thread_local!(static LAYER: Layer = Layer::load("multi-2.ztoc", "multi-2.tar.gz"));
        LAYER.with(|layer| {
            let span = SpanId(span);
            let mut compressed = layer.compressed(span).to_vec();
            for (at, byte) in edits {
                let at = at.index(compressed.len());
                compressed[at] = byte;
            }
            if let Ok(bytes) = layer.ztoc.spans.inflate(span, &compressed, layer.window(span)) {
                let range = layer.ztoc.spans.uncompressed(span).unwrap();
                assert_eq!(bytes.len() as u64, range.end - range.start);
            }
        });
    }
}
