//! The spans of a layer while its bytes go by: where they start, and what their digests are.

use sha2::{Digest as _, Sha256};

use super::budget::Budget;
use super::error::BuildError;
use crate::limits::Limits;
use crate::sha256::Sha256Bytes;
use crate::spans::WINDOW;

/// What a digest takes in a zTOC: an element, a length, text and padding.
const STORED_DIGEST: u64 = 84;
/// What a checkpoint takes: its offsets, its bits and the window.
const STORED_CHECKPOINT: u64 = 17 + WINDOW as u64;

/// Bytes of the number of checkpoints.
const COUNT: usize = 4;

/// The spans of a gzip layer.
pub(super) struct GzipSpans {
    span_size: u64,
    /// Longest span that readers accept.
    limit: u64,
    /// The checkpoint blob, but for the number of checkpoints at its start.
    blob: Vec<u8>,
    digests: Vec<Sha256Bytes>,
    /// Over the span that is open.
    digest: Sha256,
    open: Option<Start>,
    consumed: u64,
    last_byte: u8,
}

#[derive(Clone, Copy)]
struct Start {
    compressed: u64,
    uncompressed: u64,
}

impl GzipSpans {
    pub(super) fn new(span_size: u64, limits: &Limits) -> Self {
        let mut blob = vec![0; COUNT];
        blob.extend_from_slice(&span_size.to_le_bytes());
        Self {
            span_size,
            limit: limits.span,
            blob,
            digests: Vec::new(),
            digest: Sha256::new(),
            open: None,
            consumed: 0,
            last_byte: 0,
        }
    }

    /// The next bytes of the layer.
    pub(super) fn consume(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.last_byte = *last;
        self.consumed += bytes.len() as u64;
        if self.open.is_some() {
            self.digest.update(bytes);
        }
    }

    /// Whether a span starts where one can start.
    pub(super) fn is_due(&self, uncompressed: u64) -> bool {
        // Only the first may start at 0, or else readers would find spans without content.
        self.open
            .is_none_or(|open| uncompressed - open.uncompressed > self.span_size)
    }

    /// Starts a span at tar offset `uncompressed`, with the last `bits` bits of the byte consumed last.
    pub(super) fn start(
        &mut self,
        bits: u8,
        uncompressed: u64,
        window: &[u8],
        budget: &mut Budget,
    ) -> Result<(), BuildError> {
        budget.take(STORED_CHECKPOINT + STORED_DIGEST)?;
        self.close(uncompressed)?;
        if bits != 0 {
            // The byte is the last of one span and the first of the next.
            self.digest.update([self.last_byte]);
        }
        self.blob.extend_from_slice(&self.consumed.to_le_bytes());
        self.blob.extend_from_slice(&uncompressed.to_le_bytes());
        self.blob.push(bits);
        self.blob.extend_from_slice(window);
        self.open = Some(Start {
            compressed: self.consumed - u64::from(bits != 0),
            uncompressed,
        });
        Ok(())
    }

    /// The checkpoint blob and the digests of a layer that has been consumed whole; its tar ends at
    /// `uncompressed`.
    pub(super) fn finish(mut self, uncompressed: u64) -> Result<Spans, BuildError> {
        self.close(uncompressed)?;
        if let Some(count) = self.blob.first_chunk_mut() {
            *count = i32::try_from(self.digests.len())
                .unwrap_or(i32::MAX)
                .to_le_bytes();
        }
        Ok(Spans {
            checkpoints: Checkpoints::Gzip(self.blob),
            digests: self.digests,
        })
    }

    fn close(&mut self, uncompressed: u64) -> Result<(), BuildError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let compressed = self.consumed - open.compressed;
        // Padding behind the end of the tar may have opened a span that holds nothing of it.
        let uncompressed = uncompressed.saturating_sub(open.uncompressed);
        check_len(compressed.max(uncompressed), self.limit)?;
        let digest = std::mem::take(&mut self.digest).finalize();
        self.digests.push(digest.into());
        Ok(())
    }
}

/// The spans of an uncompressed layer: all of one size.
pub(super) struct TarSpans {
    span_size: u64,
    limit: u64,
    consumed: u64,
    /// Over the span that is open, which has at least one byte and fewer than `span_size`.
    digest: Sha256,
    digests: Vec<Sha256Bytes>,
}

impl TarSpans {
    pub(super) fn new(span_size: u64, limits: &Limits) -> Result<Self, BuildError> {
        if span_size == 0 {
            return Err(BuildError::SpanSize(span_size));
        }
        Ok(Self {
            span_size,
            limit: limits.span,
            consumed: 0,
            digest: Sha256::new(),
            digests: Vec::new(),
        })
    }

    /// The next bytes of the layer.
    pub(super) fn consume(
        &mut self,
        mut bytes: &[u8],
        budget: &mut Budget,
    ) -> Result<(), BuildError> {
        while !bytes.is_empty() {
            let missing = self.span_size - self.consumed % self.span_size;
            let len = usize::try_from(missing).unwrap_or(usize::MAX);
            let (span, rest) = bytes.split_at_checked(len).unwrap_or((bytes, &[]));
            self.digest.update(span);
            self.consumed += span.len() as u64;
            check_len(self.consumed.min(self.span_size), self.limit)?;
            if self.consumed.is_multiple_of(self.span_size) {
                self.close(budget)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, budget: &mut Budget) -> Result<Spans, BuildError> {
        if self.consumed == 0 {
            return Err(BuildError::unsupported("it is empty"));
        }
        if !self.consumed.is_multiple_of(self.span_size) {
            self.close(budget)?;
        }
        Ok(Spans {
            checkpoints: Checkpoints::Tar {
                span_size: self.span_size,
                size: self.consumed,
            },
            digests: self.digests,
        })
    }

    fn close(&mut self, budget: &mut Budget) -> Result<(), BuildError> {
        budget.take(STORED_DIGEST)?;
        let digest = std::mem::take(&mut self.digest).finalize();
        self.digests.push(digest.into());
        Ok(())
    }
}

/// The finished spans of a layer.
pub(super) struct Spans {
    pub(super) checkpoints: Checkpoints,
    /// One per span, at least one.
    pub(super) digests: Vec<Sha256Bytes>,
}

impl Spans {
    pub(super) fn len(&self) -> u32 {
        // The budget is far below 2^32 spans.
        u32::try_from(self.digests.len()).unwrap_or(u32::MAX)
    }
}

pub(super) enum Checkpoints {
    /// The checkpoint blob.
    Gzip(Vec<u8>),
    Tar {
        span_size: u64,
        size: u64,
    },
}

fn check_len(len: u64, limit: u64) -> Result<(), BuildError> {
    if len > limit {
        let limit = limit >> 20;
        return Err(BuildError::unsupported(format!(
            "one of its spans exceeds {limit} MiB, the most that readers hold at once; a smaller span size \
             may help, unless one deflate block is that long"
        )));
    }
    Ok(())
}
