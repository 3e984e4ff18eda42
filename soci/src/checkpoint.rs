//! Checkpoint blobs: where each span of a layer starts.

use crate::error::Error;
use crate::flat::Table;
use crate::limits::Limits;
use crate::sha256::{self, Sha256Bytes};
use crate::spans::{Checkpoint, SpanId, SpanTable, WINDOW, Window};

/// Bytes before the first checkpoint: their number and the span size asked for.
const HEADER: usize = 12;
/// Bytes before a checkpoint's window: compressed and uncompressed offset, bits.
const FIXED: usize = 17;
/// Where blobs that leave out the first checkpoint suppose it: after the shortest gzip header.
const IMPLIED_START: u64 = 10;
/// What a digest takes in a zTOC at least: offset, length, text.
const STORED_DIGEST: u64 = 4 + 4 + 71;
/// Deflate spends two bits on 258 bytes at best.
const MAX_RATIO: u64 = 1032;

/// What the zTOC says besides the checkpoint blob itself.
pub(crate) struct Layer<'a> {
    pub(crate) compressed_size: u64,
    pub(crate) uncompressed_size: u64,
    pub(crate) max_span_id: i32,
    pub(crate) digests: crate::flat::Vector<'a>,
    pub(crate) blob_len: u64,
}

/// `at` is the position of `blob` in the zTOC.
pub(crate) fn gzip(
    blob: &[u8],
    at: usize,
    layer: &Layer<'_>,
    limits: &Limits,
) -> Result<SpanTable, Error> {
    let length = |have| Error::CheckpointLength {
        have,
        len: blob.len() as u64,
    };
    let (header, stored) = blob.split_first_chunk::<HEADER>().ok_or(length(0))?;
    let [h0, h1, h2, h3, ..] = *header;
    let have = i32::from_le_bytes([h0, h1, h2, h3]);
    let count = usize::try_from(have).ok().filter(|count| *count > 0);
    let count = count.ok_or(length(have))?;
    let (stored, rest) = stored.as_chunks::<{ FIXED + WINDOW }>();
    let implied = match count.checked_sub(stored.len()) {
        Some(implied @ (0 | 1)) if rest.is_empty() => implied,
        _ => return Err(length(have)),
    };

    let mut checkpoints = Vec::with_capacity(count);
    if implied == 1 {
        checkpoints.push(Checkpoint {
            compressed: IMPLIED_START,
            uncompressed: 0,
            bits: 0,
            window: None,
        });
    }
    let mut position = (at + HEADER) as u64;
    for record in stored {
        let index = checkpoints.len();
        checkpoints.push(checkpoint(record, position, index)?);
        position += record.len() as u64;
    }
    check_order(&checkpoints, layer)?;

    let digests = layer.digests(count as u64)?;
    let (compressed, uncompressed) = (layer.compressed_size, layer.uncompressed_size);
    let table = SpanTable::gzip(checkpoints, digests, compressed, uncompressed);
    check_limits(&table, limits)?;
    Ok(table)
}

/// An uncompressed layer: spans of one size.
pub(crate) fn tar(blob: &[u8], layer: &Layer<'_>, limits: &Limits) -> Result<SpanTable, Error> {
    let table = Table::root(blob)?;
    let (span_size, size) = (table.i64(1)?, table.i64(2)?);
    let fault = |fault| Error::Checkpoint { index: 0, fault };
    let span_size = u64::try_from(span_size).ok().filter(|size| *size > 0);
    let span_size = span_size.ok_or(fault("the span size is not positive"))?;
    if u64::try_from(size) != Ok(layer.compressed_size) {
        return Err(Error::LayerSize {
            checkpoints: size,
            ztoc: layer.compressed_size,
        });
    }
    if layer.uncompressed_size > layer.compressed_size {
        return Err(Error::Limit {
            what: "tar size of an uncompressed layer",
            value: layer.uncompressed_size,
            limit: layer.compressed_size,
        });
    }
    let count = layer.compressed_size.div_ceil(span_size).max(1);
    let digests = layer.digests(count)?;
    let (compressed, uncompressed) = (layer.compressed_size, layer.uncompressed_size);
    within_span_limit(span_size.min(compressed), limits)?;
    Ok(SpanTable::tar(span_size, digests, compressed, uncompressed))
}

fn checkpoint(
    record: &[u8; FIXED + WINDOW],
    position: u64,
    index: usize,
) -> Result<Checkpoint, Error> {
    let fault = |fault| Error::Checkpoint {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        fault,
    };
    let [
        i0,
        i1,
        i2,
        i3,
        i4,
        i5,
        i6,
        i7,
        o0,
        o1,
        o2,
        o3,
        o4,
        o5,
        o6,
        o7,
        bits,
        ..,
    ] = *record;
    let compressed = i64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]);
    let uncompressed = i64::from_le_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
    if bits > 7 {
        return Err(fault("more than 7 bits of a byte are left over"));
    }
    let window = record.get(FIXED..).filter(|_| index > 0);
    let start = position + FIXED as u64;
    Ok(Checkpoint {
        compressed: u64::try_from(compressed).map_err(|_| fault("its layer offset is negative"))?,
        uncompressed: u64::try_from(uncompressed)
            .map_err(|_| fault("its tar offset is negative"))?,
        bits,
        window: window.map(|window| Window {
            blob: start..start + WINDOW as u64,
            sha256: sha256::sum(window),
        }),
    })
}

fn check_order(checkpoints: &[Checkpoint], layer: &Layer<'_>) -> Result<(), Error> {
    let mut previous: Option<&Checkpoint> = None;
    for (index, this) in (0..).zip(checkpoints) {
        let fault = |fault| Err(Error::Checkpoint { index, fault });
        if this.compressed > layer.compressed_size {
            return fault("it lies beyond the end of the layer");
        }
        match previous {
            None if this.uncompressed != 0 => return fault("the first is not at tar offset 0"),
            None if this.bits != 0 => return fault("the first is not right after a gzip header"),
            Some(previous) if previous.compressed >= this.compressed => {
                return fault("its layer offset does not exceed the one before");
            }
            Some(previous) if previous.uncompressed >= this.uncompressed => {
                return fault("its tar offset does not exceed the one before");
            }
            _ => previous = Some(this),
        }
    }
    Ok(())
}

fn check_limits(table: &SpanTable, limits: &Limits) -> Result<(), Error> {
    let header = table.header();
    within_span_limit(header.end - header.start, limits)?;
    for span in 0..table.len() {
        let (Some(compressed), Some(uncompressed)) = (
            table.compressed(SpanId(span)),
            table.uncompressed(SpanId(span)),
        ) else {
            continue;
        };
        let compressed = compressed.end - compressed.start;
        let uncompressed = uncompressed.end - uncompressed.start;
        within_span_limit(compressed.max(uncompressed), limits)?;
        if uncompressed > compressed.saturating_mul(MAX_RATIO) {
            return Err(Error::SpanRatio {
                span,
                compressed,
                uncompressed,
            });
        }
    }
    Ok(())
}

fn within_span_limit(value: u64, limits: &Limits) -> Result<(), Error> {
    let limit = limits.span;
    if value > limit {
        let what = "bytes of a span";
        return Err(Error::Limit { what, value, limit });
    }
    Ok(())
}

impl Layer<'_> {
    /// One digest for each of `spans` spans.
    fn digests(&self, spans: u64) -> Result<Vec<Sha256Bytes>, Error> {
        let count = self.digests.len() as u64;
        let mismatch = |what, value| Error::SpanCount { what, spans, value };
        if u64::try_from(self.max_span_id).ok().map(|max| max + 1) != Some(spans) {
            return Err(mismatch("greatest span id", self.max_span_id.into()));
        }
        if count != spans {
            let value = i64::try_from(count).unwrap_or(i64::MAX);
            return Err(mismatch("number of digests", value));
        }
        let limit = self.blob_len / STORED_DIGEST;
        if count > limit {
            let (what, value) = ("span digests", count);
            return Err(Error::Aliased { what, value, limit });
        }
        self.digests
            .strings()
            .map(|text| parse_digest(text?))
            .collect()
    }
}

fn parse_digest(text: &[u8]) -> Result<Sha256Bytes, Error> {
    sha256::parse(text).ok_or_else(|| Error::Digest {
        what: "digest of a span",
        text: String::from_utf8_lossy(text.get(..100).unwrap_or(text)).into_owned(),
    })
}
