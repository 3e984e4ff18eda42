//! Spans: the pieces of a layer that can be fetched, checked and inflated on their own.

use std::ops::Range;

use crate::error::Error;
use crate::inflate;
use crate::sha256::{self, Sha256Bytes};

/// Bytes of inflated history a deflate stream may refer back to.
pub const WINDOW: usize = 32 << 10;

/// Position of a span in the layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    Tar,
}

/// Where in a zTOC blob the history before a span lies, and what it was when the zTOC was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub blob: Range<u64>,
    pub sha256: [u8; 32],
}

impl Window {
    /// Whether `bytes`, read again from a stored zTOC, are still the window that was parsed.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Error> {
        if sha256::sum(bytes) == self.sha256 {
            Ok(())
        } else {
            Err(Error::WindowDigest)
        }
    }
}

/// A place where inflating can start.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoint {
    /// Offset in the layer of the first byte that belongs wholly to the span.
    pub(crate) compressed: u64,
    /// Offset in the tar where the span starts.
    pub(crate) uncompressed: u64,
    /// High-order bits of the byte before `compressed` that belong to the span, 0 to 7.
    pub(crate) bits: u8,
    pub(crate) window: Option<Window>,
}

impl Checkpoint {
    fn compressed_start(&self) -> u64 {
        let shared = u64::from(self.bits != 0);
        self.compressed.saturating_sub(shared)
    }
}

#[derive(Clone, Debug)]
enum Geometry {
    /// At least one, both offsets strictly increasing, the first at tar offset 0.
    Checkpoints(Vec<Checkpoint>),
    Uniform {
        size: u64,
        count: u32,
    },
}

/// The spans of one layer, in order. Their compressed ranges may share one byte with the next.
#[derive(Clone, Debug)]
pub struct SpanTable {
    geometry: Geometry,
    compressed_size: u64,
    uncompressed_size: u64,
    /// One per span, or none at all.
    digests: Vec<Sha256Bytes>,
}

impl SpanTable {
    pub(crate) fn gzip(
        checkpoints: Vec<Checkpoint>,
        digests: Vec<Sha256Bytes>,
        compressed_size: u64,
        uncompressed_size: u64,
    ) -> Self {
        Self {
            geometry: Geometry::Checkpoints(checkpoints),
            compressed_size,
            uncompressed_size,
            digests,
        }
    }

    pub(crate) fn tar(
        size: u64,
        digests: Vec<Sha256Bytes>,
        compressed_size: u64,
        uncompressed_size: u64,
    ) -> Self {
        Self {
            geometry: Geometry::Uniform {
                size,
                count: u32::try_from(digests.len()).unwrap_or(u32::MAX),
            },
            compressed_size,
            uncompressed_size,
            digests,
        }
    }

    /// Chunks of equal size without digests, for a tar that is held locally in full. A chunk size too
    /// small to count the chunks in 32 bits is raised.
    pub fn whole(uncompressed_size: u64, chunk: u64) -> Self {
        let smallest = uncompressed_size.div_ceil(u64::from(u32::MAX)).max(1);
        let size = chunk.max(smallest);
        Self {
            geometry: Geometry::Uniform {
                size,
                count: u32::try_from(uncompressed_size.div_ceil(size)).unwrap_or(u32::MAX),
            },
            compressed_size: uncompressed_size,
            uncompressed_size,
            digests: Vec::new(),
        }
    }

    pub fn len(&self) -> u32 {
        match &self.geometry {
            Geometry::Checkpoints(checkpoints) => {
                u32::try_from(checkpoints.len()).unwrap_or(u32::MAX)
            }
            Geometry::Uniform { count, .. } => *count,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn compression(&self) -> Compression {
        match self.geometry {
            Geometry::Checkpoints(_) => Compression::Gzip,
            Geometry::Uniform { .. } => Compression::Tar,
        }
    }

    /// Bytes of the layer as the registry stores it.
    pub fn compressed_size(&self) -> u64 {
        self.compressed_size
    }

    /// End of the tar; padding after it is not counted, so the last spans may lie beyond.
    pub fn uncompressed_size(&self) -> u64 {
        self.uncompressed_size
    }

    /// Compressed bytes before the first span: the first gzip member header, nothing for a plain tar.
    pub fn header(&self) -> Range<u64> {
        0..self.compressed(SpanId(0)).map_or(0, |span| span.start)
    }

    pub fn compressed(&self, span: SpanId) -> Option<Range<u64>> {
        match &self.geometry {
            Geometry::Checkpoints(checkpoints) => {
                let (this, next) = pair(checkpoints, span)?;
                let end = next.map_or(self.compressed_size, |next| next.compressed);
                Some(this.compressed_start()..end)
            }
            Geometry::Uniform { size, count } => uniform(*size, *count, span, self.compressed_size),
        }
    }

    pub fn uncompressed(&self, span: SpanId) -> Option<Range<u64>> {
        match &self.geometry {
            Geometry::Checkpoints(checkpoints) => {
                let (this, next) = pair(checkpoints, span)?;
                let start = this.uncompressed;
                let end = next.map_or(self.uncompressed_size, |next| next.uncompressed);
                // The tar may end before the last span starts: that span then holds only padding.
                Some(start..end.max(start))
            }
            Geometry::Uniform { size, count } => {
                uniform(*size, *count, span, self.uncompressed_size)
            }
        }
    }

    /// The spans that hold bytes of `tar`, half-open. What lies beyond the last span is left out.
    pub fn covering(&self, tar: Range<u64>) -> Range<u32> {
        let end_of_table = self
            .len()
            .checked_sub(1)
            .and_then(|last| self.uncompressed(SpanId(last)))
            .map_or(0, |last| last.end);
        let end = tar.end.min(end_of_table);
        if tar.start >= end {
            return 0..0;
        }
        self.containing(tar.start)..self.containing(end - 1) + 1
    }

    /// Where in the zTOC blob the 32 KiB before the span lie; `None` where nothing precedes.
    pub fn window(&self, span: SpanId) -> Option<Window> {
        self.checkpoint(span)?.window.clone()
    }

    /// SHA-256 of the compressed range; `None` where none was recorded.
    pub fn digest(&self, span: SpanId) -> Option<&[u8; 32]> {
        self.digests.get(usize::try_from(span.0).ok()?)
    }

    /// Whether `compressed` is exactly the compressed range of the span that was indexed. A table without
    /// digests checks the length only.
    pub fn verify(&self, span: SpanId, compressed: &[u8]) -> Result<(), Error> {
        self.check_length(span, compressed)?;
        match self.digest(span) {
            Some(digest) if *digest != sha256::sum(compressed) => {
                Err(Error::SpanDigest { span: span.0 })
            }
            _ => Ok(()),
        }
    }

    /// The bytes of the tar in this span: exactly the length of its uncompressed range, or an error.
    ///
    /// `window` holds what [`SpanTable::window`] points at, or is empty where that is `None`.
    pub fn inflate(
        &self,
        span: SpanId,
        compressed: &[u8],
        window: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.check_length(span, compressed)?;
        let range = self.uncompressed(span).ok_or_else(|| self.no_span(span))?;
        let len = range.end - range.start;
        let Some(checkpoint) = self.checkpoint(span) else {
            let bytes = usize::try_from(len)
                .ok()
                .and_then(|len| compressed.get(..len));
            return bytes.map(<[u8]>::to_vec).ok_or(Error::SpanShort {
                span: span.0,
                expected: len,
                actual: compressed.len() as u64,
            });
        };
        let expected = if checkpoint.window.is_some() {
            WINDOW
        } else {
            0
        };
        if window.len() != expected {
            return Err(Error::WindowLength {
                span: span.0,
                expected,
                actual: window.len(),
            });
        }
        inflate::from_checkpoint(compressed, checkpoint.bits, window, len).map_err(|fault| {
            match fault {
                inflate::Fault::Short(actual) => Error::SpanShort {
                    span: span.0,
                    expected: len,
                    actual,
                },
                inflate::Fault::Bad(reason) => Error::Inflate {
                    span: span.0,
                    reason,
                },
            }
        })
    }

    /// The last span that starts at or before `offset`.
    fn containing(&self, offset: u64) -> u32 {
        match &self.geometry {
            Geometry::Checkpoints(checkpoints) => {
                let after = checkpoints.partition_point(|c| c.uncompressed <= offset);
                u32::try_from(after.saturating_sub(1)).unwrap_or(u32::MAX)
            }
            Geometry::Uniform { size, count } => u32::try_from(offset / size)
                .unwrap_or(u32::MAX)
                .min(count.saturating_sub(1)),
        }
    }

    fn checkpoint(&self, span: SpanId) -> Option<&Checkpoint> {
        match &self.geometry {
            Geometry::Checkpoints(checkpoints) => checkpoints.get(usize::try_from(span.0).ok()?),
            Geometry::Uniform { .. } => None,
        }
    }

    fn check_length(&self, span: SpanId, compressed: &[u8]) -> Result<(), Error> {
        let range = self.compressed(span).ok_or_else(|| self.no_span(span))?;
        let expected = range.end - range.start;
        let actual = compressed.len() as u64;
        if actual != expected {
            return Err(Error::SpanLength {
                span: span.0,
                expected,
                actual,
            });
        }
        Ok(())
    }

    fn no_span(&self, span: SpanId) -> Error {
        Error::NoSpan {
            span: span.0,
            spans: self.len(),
        }
    }
}

fn pair(checkpoints: &[Checkpoint], span: SpanId) -> Option<(&Checkpoint, Option<&Checkpoint>)> {
    let mut rest = checkpoints.get(usize::try_from(span.0).ok()?..)?.iter();
    Some((rest.next()?, rest.next()))
}

/// Spans of equal size, the last ending at `total`; spans beyond `total` are empty.
fn uniform(size: u64, count: u32, span: SpanId, total: u64) -> Option<Range<u64>> {
    if span.0 >= count {
        return None;
    }
    let start = size.checked_mul(u64::from(span.0))?;
    let end = if span.0 + 1 == count {
        total
    } else {
        start.checked_add(size)?
    };
    Some(start..end.max(start))
}
