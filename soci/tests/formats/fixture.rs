//! Files of `tests/fixtures`, and what the dump beside a zTOC says is in it.

use std::io::Read;
use std::ops::Range;
use std::path::Path;

use soci::spans::SpanId;
use soci::ztoc::{Limits, Ztoc};

pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut tar = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .read_to_end(&mut tar)
        .unwrap();
    tar
}

/// A layer with its zTOC.
pub(crate) struct Layer {
    pub(crate) blob: Vec<u8>,
    pub(crate) ztoc: Ztoc,
    /// As the registry stores it.
    pub(crate) compressed: Vec<u8>,
    pub(crate) tar: Vec<u8>,
}

impl Layer {
    pub(crate) fn load(ztoc: &str, layer: &str) -> Self {
        let blob = read(ztoc);
        let compressed = read(layer);
        Self {
            ztoc: Ztoc::parse(&blob, &Limits::default()).unwrap(),
            tar: if layer.ends_with(".gz") {
                gunzip(&compressed)
            } else {
                compressed.clone()
            },
            blob,
            compressed,
        }
    }

    pub(crate) fn compressed(&self, span: SpanId) -> &[u8] {
        slice(&self.compressed, self.ztoc.spans.compressed(span).unwrap())
    }

    pub(crate) fn window(&self, span: SpanId) -> &[u8] {
        let window = self.ztoc.spans.window(span);
        window.map_or(&[], |window| slice(&self.blob, window.blob))
    }
}

pub(crate) fn slice(bytes: &[u8], range: Range<u64>) -> &[u8] {
    &bytes[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
}

/// The zTOCs of the tool, with the layers they describe and their dumps.
pub(crate) const LAYERS: [(&str, &str, &str); 7] = [
    ("tiny-tar.ztoc", "tiny.tar", "tiny-tar.dump.txt"),
    ("tiny-gz.ztoc", "tiny.tar.gz", "tiny-gz.dump.txt"),
    ("pax.ztoc", "pax.tar.gz", "pax.dump.txt"),
    ("pax-tar.ztoc", "pax.tar", "pax-tar.dump.txt"),
    ("gnu.ztoc", "gnu.tar.gz", "gnu.dump.txt"),
    ("multi-2.ztoc", "multi-2.tar.gz", "multi-2.dump.txt"),
    ("stored.ztoc", "stored.tar.gz", "stored.dump.txt"),
];
