//! Prefetch artifacts: spans to load before anybody reads.

mod glob;
mod hidden;
mod requests;

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::canonical;
use crate::error::Error;

pub use requests::Requests;

/// Longest artifact that is read.
const MAX_LEN: u64 = 4 << 20;
const VERSION: &str = "1.0";

#[derive(Serialize, Deserialize)]
struct Artifact {
    #[serde(default)]
    version: String,
    #[serde(default)]
    prefetch_spans: Option<Vec<Inclusive>>,
}

#[derive(Serialize, Deserialize)]
struct Inclusive {
    #[serde(default)]
    start_span: i64,
    #[serde(default)]
    end_span: i64,
}

/// The spans listed, as disjoint ascending half-open ranges within `0..spans`.
pub fn parse(json: &[u8], spans: u32) -> Result<Vec<Range<u32>>, Error> {
    let value = json.len() as u64;
    if value > MAX_LEN {
        let (what, limit) = ("bytes of a prefetch artifact", MAX_LEN);
        return Err(Error::Limit { what, value, limit });
    }
    let artifact: Artifact = serde_json::from_slice(json).map_err(|error| Error::Json {
        what: "prefetch artifact",
        reason: error.to_string(),
    })?;
    if artifact.version != VERSION {
        return Err(Error::PrefetchVersion(artifact.version));
    }
    let mut ranges = Vec::new();
    for span in artifact.prefetch_spans.unwrap_or_default() {
        ranges.push(span.within(spans)?);
    }
    if ranges.is_empty() {
        return Err(Error::PrefetchEmpty);
    }
    Ok(merge(ranges))
}

/// The artifact that lists these spans, which must not be none.
pub fn to_json(ranges: &[Range<u32>]) -> Result<Vec<u8>, Error> {
    let ranges = ranges.iter().filter(|range| !range.is_empty());
    let spans: Vec<_> = merge(ranges.cloned().collect())
        .iter()
        .map(Inclusive::new)
        .collect();
    if spans.is_empty() {
        return Err(Error::PrefetchEmpty);
    }
    canonical::to_vec(&Artifact {
        version: VERSION.to_owned(),
        prefetch_spans: Some(spans),
    })
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
