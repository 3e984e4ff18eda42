//! Puts a piece of the tar together from spans that are here. Never waits for the network, takes no lock across a read.

use crate::cache::Store;
use bytes::Bytes;
use soci::spans::SpanId;
use std::ops::Range;

/// `brought` are spans the reader already holds, ascending. None if some span is neither there nor resident.
pub(crate) fn assemble(store: &Store, tar: Range<u64>, brought: &[(u32, Bytes)]) -> Option<Bytes> {
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
        let span = spans.start;
        let (part, _) = parts(store, span, &tar)?;
        let bytes = held(store, span, brought)?;
        return (part.len() == len && part.end <= bytes.len()).then(|| bytes.slice(part));
    }
    let mut buffer = vec![0; len];
    let mut filled = 0;
    for span in spans {
        let (part, place) = parts(store, span, &tar)?;
        let target = buffer.get_mut(place)?;
        filled += target.len();
        match held(store, span, brought) {
            Some(bytes) => target.copy_from_slice(bytes.get(part)?),
            None => {
                let offset = tar.start.max(store.table.uncompressed(SpanId(span))?.start);
                if !matches!(store.read(span..span + 1, offset, target), Ok(true)) {
                    return None;
                }
            }
        }
    }
    (filled == len).then(|| buffer.into())
}

fn held(store: &Store, span: u32, brought: &[(u32, Bytes)]) -> Option<Bytes> {
    match brought.binary_search_by_key(&span, |&(span, _)| span) {
        Ok(found) => brought.get(found).map(|(_, bytes)| bytes.clone()),
        Err(_) => store.in_memory(span),
    }
}

/// Which part of the span is wanted, and where it goes.
fn parts(store: &Store, span: u32, tar: &Range<u64>) -> Option<(Range<usize>, Range<usize>)> {
    let whole = store.table.uncompressed(SpanId(span))?;
    let (start, end) = (whole.start.max(tar.start), whole.end.min(tar.end));
    let relative = |base: u64| -> Option<Range<usize>> {
        let start = usize::try_from(start.checked_sub(base)?).ok()?;
        let end = usize::try_from(end.checked_sub(base)?).ok()?;
        (start <= end).then_some(start..end)
    };
    Some((relative(whole.start)?, relative(tar.start)?))
}
