//! Cuts the bytes of a gap into its spans while they arrive. Neighbours may share one byte.

use crate::spans::Gap;
use std::collections::VecDeque;
use std::ops::Range;

pub(crate) struct Cut {
    /// What is left to bring, ascending.
    spans: VecDeque<(u32, Range<u64>)>,
    /// The first bytes of the first of them.
    bytes: Vec<u8>,
    /// Where the next byte that arrives belongs.
    position: u64,
}

impl Cut {
    pub(crate) fn new(gap: &Gap, compressed: impl Fn(u32) -> Option<Range<u64>>) -> Cut {
        Cut {
            spans: gap
                .spans
                .clone()
                .filter_map(|span| Some((span, compressed(span)?)))
                .collect(),
            bytes: Vec::new(),
            position: gap.compressed.start,
        }
    }

    /// The span whose bytes come next.
    pub(crate) fn span(&self) -> Option<u32> {
        self.spans.front().map(|(span, _)| *span)
    }

    /// Bytes that its end needs.
    pub(crate) fn missing(&self) -> u64 {
        let end = self
            .spans
            .front()
            .map_or(self.position, |(_, range)| range.end);
        end.saturating_sub(self.position)
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Takes from the front of `piece` what belongs to the current span; once that is whole, it is returned.
    pub(crate) fn take(&mut self, piece: &mut &[u8]) -> Option<(u32, Vec<u8>)> {
        let (_, range) = self.spans.front()?;
        if self.bytes.capacity() == 0 {
            let len = range.end.saturating_sub(range.start);
            self.bytes.reserve_exact(usize::try_from(len).unwrap_or(0));
        }
        let missing = usize::try_from(self.missing()).unwrap_or(usize::MAX);
        let (mine, rest) = piece.split_at(missing.min(piece.len()));
        self.bytes.extend_from_slice(mine);
        self.position = self
            .position
            .saturating_add(u64::try_from(mine.len()).unwrap_or(0));
        *piece = rest;
        if self.missing() > 0 {
            return None;
        }
        let (span, _) = self.spans.pop_front()?;
        let whole = std::mem::take(&mut self.bytes);
        if let Some((_, next)) = self.spans.front()
            && next.start < self.position
        {
            self.bytes
                .reserve_exact(usize::try_from(next.end.saturating_sub(next.start)).unwrap_or(0));
            self.bytes.extend(whole.last());
        }
        Some((span, whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Spans of 100 bytes; those with an odd number start in the last byte of the one before.
    fn compressed(span: u32) -> Option<Range<u64>> {
        let start = 10 + u64::from(span) * 100;
        (span < 10).then_some(start - u64::from(span % 2)..start + 100)
    }

    proptest! {
        #[test]
        fn spans_come_out_whole_however_their_bytes_arrive(
            first in 0u32..9,
            more in 1u32..5,
            lengths in prop::collection::vec(0usize..150, 1..40),
        ) {
            let spans = first..(first + more).min(10);
            let start = compressed(spans.start).unwrap().start;
            let end = compressed(spans.end - 1).unwrap().end;
            let blob: Vec<u8> = (0..end).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let gap = Gap { spans: spans.clone(), compressed: start..end };
            let mut cut = Cut::new(&gap, compressed);
            let mut rest = &blob[usize::try_from(start).unwrap()..];
            let mut found = Vec::new();
            for length in lengths.iter().cycle().map(|length| length + 1) {
                let mut piece = &rest[..length.min(rest.len())];
                rest = &rest[piece.len()..];
                while !piece.is_empty() {
                    found.extend(cut.take(&mut piece));
                }
                if rest.is_empty() {
                    break;
                }
            }
            let range = |span| {
                let range = compressed(span).unwrap();
                usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
            };
            let expected: Vec<_> = spans.map(|span| (span, blob[range(span)].to_vec())).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(cut.span(), None);
        }
    }
}
