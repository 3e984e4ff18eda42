//! Prefetch artifacts: spans to load before anybody reads.

mod glob;
mod hidden;
mod requests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::error::Error;
use crate::profile::{self, FirstRead, LayerProfile, MAX_RANGES};

pub use requests::Requests;

/// Longest artifact that is read.
const MAX_LEN: u64 = 4 << 20;
const VERSION: &str = "1.0";

/// What a prefetch artifact asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifact {
    /// Disjoint and ascending.
    pub spans: Vec<Range<u32>>,
    /// The same in finer terms and in the order in which a start reads, where a profile was at hand; other
    /// readers do not see it.
    pub reads: Vec<FirstRead>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default)]
    version: String,
    #[serde(default)]
    prefetch_spans: Option<Vec<Inclusive>>,
    /// Start and end in the tar, milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tar_reads: Option<Vec<(u64, u64, u32)>>,
}

#[derive(Serialize, Deserialize)]
struct Inclusive {
    #[serde(default)]
    start_span: i64,
    #[serde(default)]
    end_span: i64,
}

/// The artifact of a layer that has so many spans.
pub fn parse(json: &[u8], spans: u32) -> Result<Artifact, Error> {
    let value = json.len() as u64;
    if value > MAX_LEN {
        let (what, limit) = ("bytes of a prefetch artifact", MAX_LEN);
        return Err(Error::Limit { what, value, limit });
    }
    let document: Document = serde_json::from_slice(json).map_err(|error| Error::Json {
        what: "prefetch artifact",
        reason: error.to_string(),
    })?;
    if document.version != VERSION {
        return Err(Error::PrefetchVersion(document.version));
    }
    let mut ranges = Vec::new();
    for span in document.prefetch_spans.unwrap_or_default() {
        ranges.push(span.within(spans)?);
    }
    if ranges.is_empty() {
        return Err(Error::PrefetchEmpty);
    }
    Ok(Artifact {
        spans: merge(ranges),
        reads: reads(document.tar_reads.unwrap_or_default())?,
    })
}

fn reads(listed: Vec<(u64, u64, u32)>) -> Result<Vec<FirstRead>, Error> {
    let (value, limit) = (listed.len() as u64, MAX_RANGES as u64);
    if value > limit {
        let what = "ranges of a prefetch artifact";
        return Err(Error::Limit { what, value, limit });
    }
    let mut reads = Vec::with_capacity(listed.len());
    for (start, end, at_ms) in listed {
        let tar = profile::tar_range(start, end)?;
        reads.push(FirstRead { tar, at_ms });
    }
    Ok(LayerProfile::new(reads).reads().to_vec())
}

impl Artifact {
    /// Puts the spans in order.
    pub fn new(spans: Vec<Range<u32>>, reads: Vec<FirstRead>) -> Self {
        let spans = spans.into_iter().filter(|range| !range.is_empty());
        Self {
            spans: merge(spans.collect()),
            reads,
        }
    }

    /// Spans alone.
    pub fn of_spans(spans: Vec<Range<u32>>) -> Self {
        Self::new(spans, Vec::new())
    }

    /// An artifact that asks for no spans is refused.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let ranges = self.spans.iter().filter(|range| !range.is_empty());
        let spans: Vec<_> = merge(ranges.cloned().collect())
            .iter()
            .map(Inclusive::new)
            .collect();
        if spans.is_empty() {
            return Err(Error::PrefetchEmpty);
        }
        let reads = self.reads.iter();
        let reads = reads.map(|read| (read.tar.start, read.tar.end, read.at_ms));
        canonical::to_vec(&Document {
            version: VERSION.to_owned(),
            prefetch_spans: Some(spans),
            tar_reads: (!self.reads.is_empty()).then(|| reads.collect()),
        })
    }
}

impl Inclusive {
    fn new(range: &Range<u32>) -> Self {
        Self {
            start_span: range.start.into(),
            end_span: i64::from(range.end) - 1,
        }
    }

    fn within(&self, spans: u32) -> Result<Range<u32>, Error> {
        let (start, end) = (self.start_span, self.end_span);
        let bounds = u32::try_from(start).ok().zip(u32::try_from(end).ok());
        match bounds {
            Some((first, last)) if first <= last && last < spans => Ok(first..last + 1),
            _ => Err(Error::PrefetchRange { start, end, spans }),
        }
    }
}

/// Joins what overlaps or touches, so that a long list cannot ask for a span twice.
fn merge(mut ranges: Vec<Range<u32>>) -> Vec<Range<u32>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<u32>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
