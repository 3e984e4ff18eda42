//! The spans of a layer while it streams by: digests, windows, and whether each inflates to what is really there.

use std::collections::VecDeque;

use sha2::{Digest as _, Sha256};

use crate::finding::Findings;
use crate::gzip;
use crate::sha256::{self, Sha256Bytes};
use crate::spans::{Compression, SpanId, SpanTable, WINDOW};

/// Holds one span at a time, compressed and then inflated; limits on the zTOC bound both.
pub(super) struct Spans<'a> {
    ztoc: &'a [u8],
    table: SpanTable,
    /// Bytes of the layer so far.
    position: u64,
    /// The span being read; `None` before the first.
    current: Option<u32>,
    compressed: Vec<u8>,
    real: Real,
}

/// What the layer really inflates to.
struct Real {
    /// Bytes of the tar so far.
    position: u64,
    /// The span they are in.
    span: u32,
    content: Sha256,
    /// At least the last window of them, if there are as many.
    history: Vec<u8>,
    /// Contents of spans that are still to be compared.
    done: VecDeque<(u32, Sha256Bytes)>,
}

impl<'a> Spans<'a> {
    pub(super) fn new(ztoc: &'a [u8], table: SpanTable) -> Self {
        Self {
            ztoc,
            table,
            position: 0,
            current: None,
            compressed: Vec::new(),
            real: Real {
                position: 0,
                span: 0,
                content: Sha256::new(),
                history: Vec::new(),
                done: VecDeque::new(),
            },
        }
    }

    pub(super) fn table(&self) -> &SpanTable {
        &self.table
    }

    /// How many of the next bytes may be inflated before [`Spans::compressed`] has to see them.
    pub(super) fn until_boundary(&self) -> usize {
        let left = self.end().map(|end| end.saturating_sub(self.position));
        let left = left.and_then(|left| usize::try_from(left).ok());
        left.filter(|left| *left > 0).unwrap_or(usize::MAX)
    }

    /// Takes what the layer inflates to.
    pub(super) fn inflated(&mut self, bytes: &[u8], findings: &mut Findings) {
        self.real.push(bytes, &self.table, self.ztoc, findings);
    }

    /// Takes bytes of the layer after they were inflated, no more than [`Spans::until_boundary`]. Contents
    /// can only be compared if they could be.
    pub(super) fn compressed(&mut self, bytes: &[u8], inflates: bool, findings: &mut Findings) {
        self.position += bytes.len() as u64;
        if self.end().is_some() {
            self.compressed.extend_from_slice(bytes);
        }
        while let Some(end) = self.end().filter(|end| *end <= self.position) {
            self.complete(end, inflates, findings);
        }
    }

    pub(super) fn finish(mut self, inflates: bool, findings: &mut Findings) {
        self.compressed(&[], inflates, findings);
        if let Some(missing) = self.end() {
            let span = self
                .current
                .map_or("header".to_owned(), |span| format!("span {span}"));
            findings.error(
                "layer-truncated",
                format!(
                    "the layer ends at {}, its {span} at {missing}",
                    self.position
                ),
            );
        }
    }

    /// Where the span being read ends, or the header; `None` behind the last span.
    fn end(&self) -> Option<u64> {
        match self.current {
            None => Some(self.table.header().end),
            Some(span) => Some(self.table.compressed(SpanId(span))?.end),
        }
    }

    fn complete(&mut self, end: u64, inflates: bool, findings: &mut Findings) {
        let next = match self.current {
            None => {
                self.header(findings);
                0
            }
            Some(span) => {
                self.span(span, inflates, findings);
                span.saturating_add(1)
            }
        };
        self.current = Some(next);
        // A byte may belong to two spans.
        let start = self
            .table
            .compressed(SpanId(next))
            .map_or(end, |span| span.start);
        let shared = self.compressed.last().copied().filter(|_| start < end);
        self.compressed.clear();
        self.compressed.extend(shared);
    }

    fn header(&self, findings: &mut Findings) {
        if self.table.compression() == Compression::Gzip
            && let Err(error) = gzip::check_header(&self.compressed)
        {
            let text = format!("the bytes before the first span are no gzip header: {error}");
            findings.error("gzip-header", text);
        }
    }

    fn span(&mut self, span: u32, inflates: bool, findings: &mut Findings) {
        let id = SpanId(span);
        if let Err(error) = self.table.verify(id, &self.compressed) {
            findings.error("span-digest", error.to_string());
        }
        let window = self.table.window(id).map(|window| window.blob);
        let window = window.map_or(Some(&[] as &[u8]), |range| slice(self.ztoc, range));
        let window = window.unwrap_or_default();
        let content = match self.table.inflate(id, &self.compressed, window) {
            Ok(content) => sha256::sum(&content),
            Err(error) => {
                findings.error("span-inflate", error.to_string());
                return;
            }
        };
        let real = self.real.content(span);
        if inflates && real != Some(content) {
            findings.error(
                "span-content",
                format!("span {span} inflates to something that is not in the layer at its place"),
            );
        }
    }
}

impl Real {
    fn push(&mut self, mut bytes: &[u8], table: &SpanTable, ztoc: &[u8], findings: &mut Findings) {
        loop {
            let Some(range) = table.uncompressed(SpanId(self.span)) else {
                // What follows the last span is padding.
                return;
            };
            let left = range.end.saturating_sub(self.position);
            if left == 0 {
                self.next_span(table, ztoc, findings);
                continue;
            }
            if bytes.is_empty() {
                return;
            }
            let len = usize::try_from(left).unwrap_or(usize::MAX);
            let (taken, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            self.position += taken.len() as u64;
            self.content.update(taken);
            self.remember(taken);
            bytes = rest;
        }
    }

    fn next_span(&mut self, table: &SpanTable, ztoc: &[u8], findings: &mut Findings) {
        let content = std::mem::take(&mut self.content).finalize();
        self.done.push_back((self.span, content.into()));
        self.span = self.span.saturating_add(1);
        let id = SpanId(self.span);
        let Some(window) = table.window(id) else {
            return;
        };
        let is_reached = table
            .uncompressed(id)
            .is_some_and(|span| span.start == self.position);
        let told = slice(ztoc, window.blob).unwrap_or_default();
        let known = self.history.len().min(WINDOW);
        let (before, told) = told
            .split_at_checked(told.len() - known.min(told.len()))
            .unwrap_or_default();
        let real = self.history.get(self.history.len() - known..);
        // Nothing precedes the start of the tar.
        let is_right = real == Some(told) && before.iter().all(|byte| *byte == 0);
        if is_reached && !is_right {
            let span = self.span;
            findings.error(
                "window-mismatch",
                format!("the window before span {span} is not what precedes it in the tar"),
            );
        }
    }

    fn remember(&mut self, bytes: &[u8]) {
        if let Some(excess) = bytes.len().checked_sub(WINDOW) {
            self.history.clear();
            self.history
                .extend_from_slice(bytes.get(excess..).unwrap_or_default());
            return;
        }
        self.history.extend_from_slice(bytes);
        if let Some(excess) = self.history.len().checked_sub(2 * WINDOW) {
            self.history.drain(..excess + WINDOW);
        }
    }

    /// Digest of what really is in a span, if the stream has come that far.
    fn content(&mut self, span: u32) -> Option<Sha256Bytes> {
        while let Some((done, content)) = self.done.front().copied() {
            if done > span {
                break;
            }
            self.done.pop_front();
            if done == span {
                return Some(content);
            }
        }
        None
    }
}

fn slice(bytes: &[u8], range: std::ops::Range<u64>) -> Option<&[u8]> {
    bytes.get(usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?)
}
