//! The spans of a gzip layer, cut in several ways at once: which of them fits shows only at its end.

use super::plan::{Place, Plan, Sum, Sums};
use super::records::{Records, Start};
use super::{Checkpoints, STORED_CHECKPOINT, STORED_DIGEST, Spans};
use crate::build::budget::Budget;
use crate::build::cuts::Cuts;
use crate::build::error::BuildError;
use crate::limits::Limits;
use crate::sha256::{Running, Sha256Bytes};

/// A span that is to start before some place is looked for so many bytes ahead of it.
const APPROACH: u64 = 2 << 20;
/// So many spans more than without a profile a plan may have while the layer goes by; at its end, none.
const LEAD: usize = 256;

pub(in crate::build) struct GzipSpans {
    /// Over all of the layer.
    digest: Running,
    /// Longest span that readers accept.
    limit: u64,
    /// Without a profile.
    span_size: u64,
    /// The places where spans of any plan start.
    records: Records,
    /// Over what follows each place that a span is open from.
    sums: Sums,
    /// Cuts around what starts read, the finest first.
    around: Vec<Plan>,
    /// Without a profile: what the others may not exceed, and the way out where they do.
    plain: Plan,
    candidate: Option<Candidate>,
    consumed: u64,
    last_byte: u8,
}

/// The last boundary: a span will have started there if something wanted begins before the next one.
struct Candidate {
    record: usize,
    place: Place,
    /// Digests of the spans that would end there.
    sums: Sums,
}

impl GzipSpans {
    pub(in crate::build) fn new(cuts: &Cuts, limits: &Limits) -> Self {
        let around = cuts.around_reads().into_iter();
        Self {
            digest: Running::default(),
            limit: limits.span,
            span_size: cuts.span_size,
            records: Records::new(),
            sums: Sums::default(),
            around: around.map(Plan::around).collect(),
            plain: Plan::every(cuts.span_size),
            candidate: None,
            consumed: 0,
            last_byte: 0,
        }
    }

    /// The next bytes of the layer.
    pub(in crate::build) fn consume(&mut self, bytes: &[u8]) {
        let Some(last) = bytes.last() else { return };
        self.last_byte = *last;
        self.consumed += bytes.len() as u64;
        self.sums.update_with(&mut self.digest, bytes);
    }

    /// Whether [`GzipSpans::boundary`] has to be told of one at this tar offset.
    pub(in crate::build) fn is_due(&self, at: u64) -> bool {
        !self.around.is_empty() || self.plain.is_due(at)
    }

    /// A span may start at tar offset `at`, with the last `bits` bits of the byte consumed last.
    pub(in crate::build) fn boundary(
        &mut self,
        bits: u8,
        at: u64,
        window: &[u8],
        budget: &mut Budget,
    ) -> Result<(), BuildError> {
        self.around.iter_mut().for_each(|plan| plan.reach(at));
        self.plain.reach(at);
        self.settle();
        let place = Place {
            consumed: self.consumed,
            at,
        };
        let is_cut = self.plans().any(|plan| plan.cuts_here(at));
        let is_awaited = self.around.iter().any(|plan| {
            let ahead = plan.awaited().and_then(|start| start.checked_sub(at));
            ahead.is_some_and(|ahead| (1..=APPROACH).contains(&ahead))
        });
        if !is_cut && !is_awaited {
            return Ok(());
        }
        let record = self.start(bits, at, window);
        let (sums, limit) = (&self.sums, self.limit);
        if self.plain.cuts_here(at) {
            budget.take(STORED_CHECKPOINT + STORED_DIGEST)?;
            self.plain.cut(record, place, sums, limit)?;
        }
        let most = self.plain.len() + LEAD;
        self.around.retain_mut(|plan| {
            let cut = match plan.cuts_here(at) {
                true => plan.cut(record, place, sums, limit),
                false => Ok(()),
            };
            cut.is_ok() && plan.len() <= most
        });
        self.candidate = is_awaited.then(|| Candidate {
            record: record.number,
            place,
            sums: self.sums.clone(),
        });
        self.forget_sums();
        Ok(())
    }

    /// Bytes of the layer so far.
    pub(in crate::build) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// The digest of a layer that has been consumed whole, its checkpoint blob and the digests of its spans; its tar
    /// ends at `uncompressed`.
    pub(in crate::build) fn finish(
        mut self,
        uncompressed: u64,
    ) -> Result<(Sha256Bytes, Spans), BuildError> {
        let end = Place {
            consumed: self.consumed,
            at: uncompressed,
        };
        let most = self.plain.len();
        let around = std::mem::take(&mut self.around).into_iter();
        let mut fitting = around.filter(|plan| plan.len() <= most);
        let finished = fitting.find_map(|plan| plan.finish(end, &self.sums, self.limit).ok());
        let is_around = finished.is_some();
        let (starts, digests) = match finished {
            Some(finished) => finished,
            None => self.plain.finish(end, &self.sums, self.limit)?,
        };
        // Of an uneven index as of any other, what all spans but the last exceed.
        let exceeded = self.records.exceeded(&starts).filter(|_| is_around);
        let span_size = exceeded.unwrap_or(self.span_size);
        let spans = Spans {
            checkpoints: Checkpoints::Gzip(self.records.only(&starts, span_size)),
            digests,
            span_size,
        };
        Ok((self.digest.finish(), spans))
    }

    /// Decides whether spans start at the last boundary, now that this one is known.
    fn settle(&mut self) {
        let Some(candidate) = self.candidate.take() else {
            return;
        };
        let Candidate {
            record,
            place,
            sums,
        } = candidate;
        let Some(start) = self.records.get(record) else {
            return;
        };
        let limit = self.limit;
        self.around.retain_mut(|plan| {
            !plan.cuts_before(place.at) || plan.cut(start, place, &sums, limit).is_ok()
        });
        if !self.plans().any(|plan| plan.is_open_from(record)) {
            self.records.remove_last(record);
        }
        self.forget_sums();
    }

    /// Notes the place where the layer has come to.
    fn start(&mut self, bits: u8, at: u64, window: &[u8]) -> Start {
        let start = self.records.push(self.consumed, at, bits, window);
        // The byte is the last of one span and the first of the next.
        let shared = (bits != 0).then_some(self.last_byte);
        self.sums.push(Sum::new(start.number, shared));
        start
    }

    fn forget_sums(&mut self) {
        let Self {
            sums,
            around,
            plain,
            candidate,
            ..
        } = self;
        sums.retain(|record| {
            candidate.as_ref().is_some_and(|c| c.record == record)
                || around
                    .iter()
                    .chain([&*plain])
                    .any(|plan| plan.is_open_from(record))
        });
    }

    fn plans(&self) -> impl Iterator<Item = &Plan> {
        self.around.iter().chain([&self.plain])
    }
}
