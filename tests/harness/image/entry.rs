//! Entries and content of layers written by hand.

use super::upper::EPOCH;
use crate::tar::{Entry, Kind};

pub(super) fn file(name: impl AsRef<[u8]>) -> Entry {
    Entry {
        name: name.as_ref().to_vec(),
        mode: 0o644,
        mtime: (EPOCH, 0),
        ..Entry::default()
    }
}

pub(super) fn directory(name: impl AsRef<[u8]>) -> Entry {
    Entry {
        kind: Kind::Dir,
        mode: 0o755,
        ..file(name)
    }
}

/// Bytes that do not compress, the same every time.
pub(super) fn noise(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(size);
    out
}
