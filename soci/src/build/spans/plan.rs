//! One way to cut a layer into spans, as far as the layer has come.

use super::check_len;
use super::records::Start;
use crate::build::cuts::{Point, Points};
use crate::build::error::BuildError;
use crate::sha256::{Running, Sha256Bytes};

/// A place in the layer: bytes consumed, and offset in the tar.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) consumed: u64,
    pub(super) at: u64,
}

pub(super) struct Plan {
    rule: Rule,
    /// The span that is open.
    open: Option<Start>,
    /// Records that spans start at, the open one included.
    starts: Vec<usize>,
    /// Of the spans that are complete.
    digests: Vec<Sha256Bytes>,
    /// What the rule says of the last boundary reached.
    verdict: Verdict,
}

enum Rule {
    Every(u64),
    Around(Points),
}

#[derive(Clone, Copy, Default)]
struct Verdict {
    /// A span should have started at the boundary before.
    before: bool,
    /// A span should start at this boundary.
    here: bool,
}

impl Plan {
    /// Spans end with the first block after so many bytes.
    pub(super) fn every(span_size: u64) -> Self {
        Self::new(Rule::Every(span_size))
    }

    pub(super) fn around(points: Points) -> Self {
        Self::new(Rule::Around(points))
    }

    fn new(rule: Rule) -> Self {
        Self {
            rule,
            open: None,
            starts: Vec::new(),
            digests: Vec::new(),
            verdict: Verdict::default(),
        }
    }

    /// Whether a plan that cuts every so many bytes does so at `at`.
    pub(super) fn is_due(&self, at: u64) -> bool {
        match (&self.rule, self.open) {
            (Rule::Every(span_size), Some(open)) => at - open.uncompressed > *span_size,
            _ => true,
        }
    }

    /// The layer has come to another boundary.
    pub(super) fn reach(&mut self, at: u64) {
        let due = self.is_due(at);
        self.verdict = match &mut self.rule {
            Rule::Every(_) => Verdict {
                before: false,
                here: due,
            },
            Rule::Around(points) => passed(points, at),
        };
    }

    /// Whether a span starts at the boundary before the last one reached, at `at` in the tar.
    pub(super) fn cuts_before(&self, at: u64) -> bool {
        self.verdict.before && self.is_behind(at)
    }

    /// Whether a span starts at the boundary reached last, at `at` in the tar.
    pub(super) fn cuts_here(&self, at: u64) -> bool {
        self.open.is_none() || self.verdict.here && self.is_behind(at)
    }

    /// Only the first span may start at 0, or else readers would find spans without content.
    fn is_behind(&self, at: u64) -> bool {
        self.open.is_some_and(|open| open.uncompressed < at)
    }

    /// Where something wanted starts next.
    pub(super) fn awaited(&self) -> Option<u64> {
        match &self.rule {
            Rule::Every(_) => None,
            Rule::Around(points) => points.awaited(),
        }
    }

    pub(super) fn is_open_from(&self, record: usize) -> bool {
        self.open.is_some_and(|open| open.number == record)
    }

    /// Spans so far.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn cut(
        &mut self,
        start: Start,
        place: Place,
        sums: &Sums,
        limit: u64,
    ) -> Result<(), BuildError> {
        self.close(place, sums, limit)?;
        self.starts.push(start.number);
        self.open = Some(start);
        Ok(())
    }

    /// Records that spans start at, and the digests of the spans.
    pub(super) fn finish(
        mut self,
        end: Place,
        sums: &Sums,
        limit: u64,
    ) -> Result<(Vec<usize>, Vec<Sha256Bytes>), BuildError> {
        self.close(end, sums, limit)?;
        Ok((self.starts, self.digests))
    }

    fn close(&mut self, end: Place, sums: &Sums, limit: u64) -> Result<(), BuildError> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let compressed = end.consumed - open.compressed;
        // Padding behind the end of the tar may have opened a span that holds nothing of it.
        let uncompressed = end.at.saturating_sub(open.uncompressed);
        check_len(compressed.max(uncompressed), limit)?;
        self.digests.push(sums.of(open.number));
        Ok(())
    }
}

/// What follows from the points up to a boundary.
fn passed(points: &mut Points, at: u64) -> Verdict {
    let mut verdict = Verdict::default();
    let mut has_ended = false;
    while let Some(point) = points.next_until(at) {
        match point {
            Point::Start(start) => {
                // What ends and what starts within one block have that block in common.
                verdict.before |= start < at && !has_ended;
                verdict.here = start == at;
                has_ended = false;
            }
            Point::End(_) => {
                verdict.here = true;
                has_ended = true;
            }
            Point::Within(_) => verdict.here = true,
        }
    }
    verdict
}

/// Running digests, each over what follows a place where a span is open.
#[derive(Clone, Default)]
pub(super) struct Sums(Vec<Sum>);

#[derive(Clone)]
pub(super) struct Sum {
    record: usize,
    digest: Running,
}

impl Sum {
    /// `shared` is what the span has of the byte before.
    pub(super) fn new(record: usize, shared: Option<u8>) -> Self {
        let mut digest = Running::default();
        digest.update(shared.as_slice());
        Self { record, digest }
    }
}

impl Sums {
    pub(super) fn push(&mut self, sum: Sum) {
        self.0.push(sum);
    }

    /// Updates them and another digest, two at a time.
    pub(super) fn update_with(&mut self, other: &mut Running, bytes: &[u8]) {
        let mut single = Some(other);
        for sum in &mut self.0 {
            match single.take() {
                Some(first) => first.update_both(&mut sum.digest, bytes),
                None => single = Some(&mut sum.digest),
            }
        }
        if let Some(single) = single {
            single.update(bytes);
        }
    }

    pub(super) fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        self.0.retain(|sum| keep(sum.record));
    }

    fn of(&self, record: usize) -> Sha256Bytes {
        let sum = self.0.iter().find(|sum| sum.record == record);
        let digest = sum.map(|sum| sum.digest.clone()).unwrap_or_default();
        digest.finish()
    }
}
