//! What starts read of one layer.

use super::MAX_RANGES;
use super::first_read::FirstRead;
use super::ranges::{self, Piece};

/// Reads taken in at once.
const BATCH: usize = 16 << 10;

/// What was read of one layer: ranges that are disjoint, not empty, in the order of their first use, and no
/// more than [`MAX_RANGES`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerProfile {
    reads: Vec<FirstRead>,
    /// How many starts have read each of them, at least one.
    runs: Vec<u32>,
}

impl LayerProfile {
    /// From the reads of one start, in any order. What was read twice counts the first time; what touches
    /// and was read within moments becomes one range.
    pub fn new(reads: impl IntoIterator<Item = FirstRead>) -> Self {
        let mut reads = reads.into_iter().map(|read| Piece::new(&read, 1));
        let mut known = Vec::new();
        loop {
            let batch: Vec<Piece> = reads.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return Self::ordered(known);
            }
            known = ranges::overlay(&known, &ranges::disjoint(batch), u32::max);
            known = ranges::bounded(ranges::joined(known), MAX_RANGES);
        }
    }

    /// In the order of their first use.
    pub fn reads(&self) -> &[FirstRead] {
        &self.reads
    }

    /// Of the tar.
    pub fn bytes(&self) -> u64 {
        let lengths = self.reads.iter().map(|read| read.tar.end - read.tar.start);
        lengths.fold(0, u64::saturating_add)
    }

    /// Adds what other starts have read of the layer. The order of the two does not matter.
    pub fn merge(&mut self, other: &Self) {
        let merged = ranges::overlay(&self.pieces(), &other.pieces(), u32::saturating_add);
        *self = Self::ordered(ranges::bounded(ranges::joined(merged), MAX_RANGES));
    }

    /// Lets the starts so far count half.
    pub(super) fn halve(&mut self) {
        let mut pieces = self.pieces();
        pieces.iter_mut().for_each(|piece| piece.runs /= 2);
        pieces.retain(|piece| piece.runs > 0);
        *self = Self::ordered(ranges::joined(pieces));
    }

    pub(super) fn bound(&mut self, max: usize) {
        *self = Self::ordered(ranges::bounded(self.pieces(), max));
    }

    /// Ranges with the number of starts that have read them, in the order of first use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&FirstRead, u32)> {
        self.reads.iter().zip(self.runs.iter().copied())
    }

    /// From ranges that somebody wrote down.
    pub(super) fn from_pieces(pieces: Vec<Piece>) -> Self {
        let pieces = ranges::joined(ranges::disjoint(pieces));
        Self::ordered(ranges::bounded(pieces, MAX_RANGES))
    }

    /// In the order of the tar.
    fn pieces(&self) -> Vec<Piece> {
        let mut pieces: Vec<_> = self
            .iter()
            .map(|(read, runs)| Piece::new(read, runs))
            .collect();
        pieces.sort_unstable_by_key(|piece| piece.start);
        pieces
    }

    fn ordered(mut pieces: Vec<Piece>) -> Self {
        pieces.sort_unstable_by_key(|piece| (piece.at_ms, piece.start));
        Self {
            runs: pieces.iter().map(|piece| piece.runs).collect(),
            reads: pieces.iter().map(Piece::read).collect(),
        }
    }
}
