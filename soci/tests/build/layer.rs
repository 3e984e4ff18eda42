//! Layers made by hand, and their zTOCs.

use std::io::Write;
use std::path::Path;

use flate2::write::GzEncoder;
use soci::build::{BuildError, BuildOptions, Builder, Built, Compression, Cuts};

pub(crate) const TOOL: &str = "AWS SOCI CLI v0.2";

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn options(compression: Compression, span_size: u64) -> BuildOptions {
    BuildOptions {
        cuts: Cuts::every(span_size),
        build_tool: TOOL.to_owned(),
        compression,
    }
}

/// Pushes the pieces one after the other.
pub(crate) fn build_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    compression: Compression,
    span_size: u64,
) -> Result<Built, BuildError> {
    let mut builder = Builder::new(&options(compression, span_size))?;
    for piece in pieces {
        builder.push(piece)?;
    }
    builder.finish()
}

pub(crate) fn build_gzip(blob: &[u8], span_size: u64) -> Result<Built, BuildError> {
    build_pieces([blob], Compression::Gzip, span_size)
}

pub(crate) fn build_tar(blob: &[u8], span_size: u64) -> Result<Built, BuildError> {
    build_pieces([blob], Compression::Tar, span_size)
}

pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that compress to about a half, different for each seed.
pub(crate) fn noise(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        u8::try_from(state % 17).unwrap() + b'a'
    })
    .take(len)
    .collect()
}

/// A ustar header, to be changed before it is summed.
pub(crate) struct Header(pub(crate) [u8; 512]);

impl Header {
    pub(crate) fn new(name: &str, typeflag: u8, size: usize) -> Self {
        let mut block = [0; 512];
        block[156] = typeflag;
        Self(block)
            .put(0, name.as_bytes())
            .put(100, b"0000644\0")
            .put(108, b"0001750\0")
            .put(116, b"0001750\0")
            .put(124, format!("{size:011o}\0").as_bytes())
            .put(136, b"14524770440\0")
            .put(257, b"ustar\x0000")
    }

    pub(crate) fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn link(self, target: &str) -> Self {
        self.put(157, target.as_bytes())
    }

    pub(crate) fn block(self) -> [u8; 512] {
        let spaced = self.put(148, b"        ");
        let sum: u32 = spaced.0.iter().map(|byte| u32::from(*byte)).sum();
        spaced.put(148, format!("{sum:06o}\0 ").as_bytes()).0
    }
}

pub(crate) fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = Header::new(name, b'0', content.len()).block().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn empty(name: &str, typeflag: u8) -> Vec<u8> {
    Header::new(name, typeflag, 0).block().to_vec()
}

pub(crate) fn link(name: &str, typeflag: u8, target: &str) -> Vec<u8> {
    Header::new(name, typeflag, 0).link(target).block().to_vec()
}

pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (key, value) in records {
        let body = key.len() + value.len() + 3;
        let len = (body + 1..)
            .find(|len| body + len.to_string().len() == *len)
            .unwrap();
        payload.extend_from_slice(format!("{len} {key}=").as_bytes());
        payload.extend_from_slice(value);
        payload.push(b'\n');
    }
    let mut bytes = file("pax", &payload);
    let header = Header::new("pax", b'x', payload.len()).block();
    bytes[..512].copy_from_slice(&header);
    bytes
}

/// The members, and the two zero blocks.
pub(crate) fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    let mut tar = members.concat();
    tar.resize(tar.len() + 1024, 0);
    tar
}
