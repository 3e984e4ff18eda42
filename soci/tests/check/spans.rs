//! Gzip layers with spans made here, and what a careful liar would make of them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use soci::canonical;

use crate::blob::{Blob, File};
use crate::layers::{codes, facts, findings};
use crate::made::Archive;

const WINDOW: usize = 32 << 10;

/// A layer of two spans, cut at a tar offset, with a zTOC that is right.
struct Layer {
    tar: Vec<u8>,
    gzip: Vec<u8>,
    /// Tar and layer offset of the second span.
    cut: (usize, usize),
    files: Vec<File>,
    span_size: u64,
    /// Before the second span.
    window: Vec<u8>,
}

impl Layer {
    fn new(archive: Archive, cut: usize) -> Self {
        let (tar, files) = archive.finish();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&tar[..cut]).unwrap();
        encoder.flush().unwrap();
        let compressed = encoder.get_ref().len();
        encoder.write_all(&tar[cut..]).unwrap();
        let mut window = vec![0; WINDOW];
        window.extend(&tar[..cut]);
        Self {
            gzip: encoder.finish().unwrap(),
            cut: (cut, compressed),
            files,
            span_size: cut as u64 - 1,
            window: window.split_off(cut),
            tar,
        }
    }

    /// As a liar would: the digests are right for whatever is said.
    fn check(&self, expected: &[&str]) {
        let (out, cut) = self.cut;
        let mut checkpoints = 2_i32.to_le_bytes().to_vec();
        checkpoints.extend(self.span_size.to_le_bytes());
        for (compressed, uncompressed, window) in
            [(10, 0, &vec![0; WINDOW]), (cut, out, &self.window)]
        {
            checkpoints.extend((compressed as u64).to_le_bytes());
            checkpoints.extend((uncompressed as u64).to_le_bytes());
            checkpoints.push(0);
            checkpoints.extend(window);
        }
        let digest = |bytes: &[u8]| canonical::digest(bytes).unwrap().to_string().into_bytes();
        let ztoc = Blob {
            compressed_size: self.gzip.len() as i64,
            uncompressed_size: self.tar.len() as i64,
            files: Some(self.files.clone()),
            algorithm: 1,
            max_span_id: 1,
            digests: vec![digest(&self.gzip[10..cut]), digest(&self.gzip[cut..])],
            checkpoints,
        };
        let ztoc = ztoc.build();
        for piece in [1 << 20, 100] {
            let facts = facts(&ztoc, &self.gzip, self.span_size);
            let found = findings(&ztoc, &self.gzip, facts, piece);
            assert_eq!(codes(&found), expected, "{found:#?}");
        }
    }
}

/// Text that refers back to itself, so that a wrong window shows.
fn text(len: usize) -> Vec<u8> {
    let lines = (0_u32..).flat_map(|n| format!("line {} of many\n", n * n % 1009).into_bytes());
    lines.take(len).collect()
}

fn layer(cut: usize) -> Layer {
    Layer::new(Archive::default().file("a", &text(100_000)), cut)
}

#[test]
fn spans_made_here_are_right() {
    layer(50_000).check(&[]);
    // Less than a window precedes the second span.
    layer(1_000).check(&[]);
}

#[test]
fn much_output_of_little_input_is_all_compared() {
    // The first span ends while the decoder holds back more than it has given.
    Layer::new(Archive::default().file("a", &vec![0; 3_000_000]), 2_000_000).check(&[]);
}

#[test]
fn a_window_that_changes_the_content_is_found() {
    let mut layer = layer(50_000);
    layer.window.iter_mut().for_each(|byte| *byte ^= 1);
    layer.check(&["window-mismatch", "span-content"]);
}

#[test]
fn a_window_before_the_start_of_the_tar_is_found() {
    let mut layer = layer(1_000);
    layer.window[0] = 1;
    layer.check(&["window-mismatch"]);
}

#[test]
fn spans_too_short_for_their_size_are_found() {
    let mut layer = layer(50_000);
    layer.span_size = 50_000;
    layer.check(&["span-size"]);
}

#[test]
fn a_wrong_checksum_is_found() {
    let mut layer = layer(50_000);
    let crc = layer.gzip.len() - 8;
    layer.gzip[crc] ^= 1;
    layer.check(&["layer-corrupt"]);
}
