//! Puts a piece of the tar together from spans that are here. Never waits for the network, takes no lock across a read.

use crate::cache::Store;
use bytes::Bytes;
use soci::spans::SpanId;
use std::ops::Range;

/// A part of one span in a reader's own hands: the span itself is let go of at once.
pub(crate) struct Piece {
    tar: Range<u64>,
    bytes: Bytes,
}

impl Piece {
    /// Copies what of `wanted` lies in a span that begins at `start`.
    pub(crate) fn copy(span: &Bytes, start: u64, wanted: &Range<u64>) -> Option<Piece> {
        let end = start.checked_add(u64::try_from(span.len()).ok()?)?;
        let tar = wanted.start.max(start)..wanted.end.min(end);
        if tar.is_empty() {
            return None;
        }
        let bytes = span.get(relative(&tar, start)?)?;
        Some(Piece {
            bytes: Bytes::copy_from_slice(bytes),
            tar,
        })
    }
}

/// `brought` is what the reader already holds. None if some span is neither there nor resident.
pub(crate) fn assemble(store: &Store, tar: Range<u64>, brought: &[Piece]) -> Option<Bytes> {
    let len = usize::try_from(tar.end.checked_sub(tar.start)?).ok()?;
    let spans = store.table.covering(tar.clone());
    if store.all_on_disk(spans.clone()) {
        let mut buffer = vec![0; len];
        // A disk that fails is as good as one that has nothing.
        if let Ok(true) = store.read(spans.clone(), tar.start, &mut buffer) {
            return Some(buffer.into());
        }
    }
    if spans.len() == 1 {
        let bytes = held(store, spans.start, &tar, brought)?;
        return (bytes.len() == len).then_some(bytes);
    }
    let mut buffer = vec![0; len];
    let mut filled = 0;
    for span in spans {
        let whole = store.table.uncompressed(SpanId(span))?;
        let part = whole.start.max(tar.start)..whole.end.min(tar.end);
        let target = buffer.get_mut(relative(&part, tar.start)?)?;
        filled += target.len();
        match held(store, span, &part, brought) {
            Some(bytes) if bytes.len() == target.len() => target.copy_from_slice(&bytes),
            _ => {
                if !matches!(store.read(span..span + 1, part.start, target), Ok(true)) {
                    return None;
                }
            }
        }
    }
    (filled == len).then(|| buffer.into())
}

fn held(store: &Store, span: u32, part: &Range<u64>, brought: &[Piece]) -> Option<Bytes> {
    let holds = |piece: &&Piece| piece.tar.start <= part.start && part.end <= piece.tar.end;
    if let Some(piece) = brought.iter().find(holds) {
        let range = relative(part, piece.tar.start)?;
        return (range.end <= piece.bytes.len()).then(|| piece.bytes.slice(range));
    }
    let bytes = store.in_memory(span)?;
    let range = relative(part, store.table.uncompressed(SpanId(span))?.start)?;
    (range.end <= bytes.len()).then(|| bytes.slice(range))
}

fn relative(range: &Range<u64>, base: u64) -> Option<Range<usize>> {
    let start = usize::try_from(range.start.checked_sub(base)?).ok()?;
    let end = usize::try_from(range.end.checked_sub(base)?).ok()?;
    (start <= end).then_some(start..end)
}
