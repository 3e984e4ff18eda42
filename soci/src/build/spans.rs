//! The spans of a layer while its bytes go by: where they start, and what their digests are.

mod gzip;
mod plan;
mod records;

use super::budget::Budget;
use super::error::BuildError;
use crate::limits::Limits;
use crate::sha256::{Running, Sha256Bytes};
use crate::spans::WINDOW;

pub(super) use gzip::GzipSpans;

/// What a digest takes in a zTOC: an element, a length, text and padding.
const STORED_DIGEST: u64 = 84;
/// What a checkpoint takes: its offsets, its bits and the window.
const STORED_CHECKPOINT: u64 = 17 + WINDOW as u64;

/// The spans of an uncompressed layer: all of one size.
pub(super) struct TarSpans {
    span_size: u64,
    limit: u64,
    consumed: u64,
    /// Over all of the layer.
    digest: Running,
    /// Over the span that is open, which has at least one byte and fewer than `span_size`.
    open: Running,
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
            digest: Running::default(),
            open: Running::default(),
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
            self.digest.update_both(&mut self.open, span);
            self.consumed += span.len() as u64;
            check_len(self.consumed.min(self.span_size), self.limit)?;
            if self.consumed.is_multiple_of(self.span_size) {
                self.close(budget)?;
            }
            bytes = rest;
        }
        Ok(())
    }

    /// The digest of the layer, and its spans.
    pub(super) fn finish(
        mut self,
        budget: &mut Budget,
    ) -> Result<(Sha256Bytes, Spans), BuildError> {
        if self.consumed == 0 {
            return Err(BuildError::unsupported("it is empty"));
        }
        if !self.consumed.is_multiple_of(self.span_size) {
            self.close(budget)?;
        }
        let spans = Spans {
            checkpoints: Checkpoints::Tar {
                span_size: self.span_size,
                size: self.consumed,
            },
            digests: self.digests,
            span_size: self.span_size,
        };
        Ok((self.digest.finish(), spans))
    }

    fn close(&mut self, budget: &mut Budget) -> Result<(), BuildError> {
        budget.take(STORED_DIGEST)?;
        let digest = std::mem::take(&mut self.open).finish();
        self.digests.push(digest);
        Ok(())
    }
}

/// The finished spans of a layer.
pub(super) struct Spans {
    pub(super) checkpoints: Checkpoints,
    /// One per span, at least one.
    pub(super) digests: Vec<Sha256Bytes>,
    /// What the zTOC says it is.
    pub(super) span_size: u64,
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
