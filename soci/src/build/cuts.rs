//! Where the spans of a layer are to end: after so many bytes, or around what starts read.

use std::ops::Range;

use crate::profile::LayerProfile;

/// What the kernel reads ahead of a reader: it would run past the end of what the reader wants.
const READ_AHEAD: u64 = 128 << 10;
/// Room for the tar header before a file, which readers check.
const HEADER: u64 = 4 << 10;
/// Cuts are not looked for more often than this.
const LEAST: u64 = 4 << 10;

/// Where the spans of a layer are cut.
///
/// A span of a gzip layer can only start where a deflate block does, so that its cuts lie as near as the
/// layer allows; the spans of a plain tar all have one size, with or without a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cuts {
    pub(super) span_size: u64,
    /// In the order of the tar.
    reads: Vec<Range<u64>>,
}

impl Cuts {
    /// A span of a gzip layer ends with the first deflate block after this many bytes of tar, one of a plain
    /// tar exactly there.
    pub fn every(span_size: u64) -> Self {
        let reads = Vec::new();
        Self { span_size, reads }
    }

    /// Fine spans where starts read, coarse ones elsewhere, and no more than [`Cuts::every`] makes.
    pub fn around(profile: &LayerProfile, span_size: u64) -> Self {
        let mut reads: Vec<_> = profile
            .reads()
            .iter()
            .map(|read| read.tar.clone())
            .collect();
        reads.sort_unstable_by_key(|read| read.start);
        Self { span_size, reads }
    }

    /// Ways to cut around what starts read, the finest first; none without a profile.
    pub(super) fn around_reads(&self) -> Vec<Points> {
        if self.reads.is_empty() {
            return Vec::new();
        }
        let part = |divisor: u64| (self.span_size / divisor).max(LEAST);
        // What starts read is needed whole, however it is cut; what is joined to it is not.
        [(64, 4), (16, 2), (8, 1), (4, 1)]
            .map(|(gap, fine)| {
                let wanted = wanted(&self.reads, part(gap));
                Points::new(
                    wanted,
                    part(fine),
                    self.span_size.saturating_mul(2).max(LEAST),
                )
            })
            .into()
    }
}

/// What readers ask for when starts read this, with gaps up to so many bytes taken in.
fn wanted(reads: &[Range<u64>], gap: u64) -> Vec<Range<u64>> {
    let mut wanted: Vec<Range<u64>> = Vec::new();
    for read in reads {
        let start = read.start.saturating_sub(HEADER);
        let end = read.end.saturating_add(READ_AHEAD);
        match wanted.last_mut() {
            Some(last) if start <= last.end.saturating_add(gap) => last.end = last.end.max(end),
            _ => wanted.push(start..end),
        }
    }
    wanted
}

/// A place in the tar that a cut should be near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// What is wanted starts here: cut before.
    Start(u64),
    /// What is wanted ends here: cut after.
    End(u64),
    /// The span would become too long: cut after.
    Within(u64),
}

impl Point {
    fn offset(self) -> u64 {
        let (Self::Start(offset) | Self::End(offset) | Self::Within(offset)) = self;
        offset
    }
}

/// The points of a layer in the order of its tar; there is always another one.
#[derive(Debug)]
pub(super) struct Points {
    /// What is wanted further on.
    wanted: std::vec::IntoIter<Range<u64>>,
    fine: u64,
    coarse: u64,
    /// What is wanted here or next; `None` behind all.
    current: Option<Range<u64>>,
    is_within: bool,
    /// The last point.
    last: u64,
    /// Bytes from one point to the next.
    step: u64,
}

impl Points {
    fn new(wanted: Vec<Range<u64>>, fine: u64, coarse: u64) -> Self {
        let mut points = Self {
            wanted: wanted.into_iter(),
            fine,
            coarse,
            current: None,
            is_within: false,
            last: 0,
            step: coarse,
        };
        points.skip_to_next();
        points
    }

    /// The next point, if it is not behind `at`.
    pub(super) fn next_until(&mut self, at: u64) -> Option<Point> {
        let point = self.peek();
        if point.offset() > at {
            return None;
        }
        self.last = point.offset();
        match point {
            Point::Within(_) => {}
            Point::Start(start) => {
                self.is_within = true;
                let end = self.current.as_ref().map_or(start, |range| range.end);
                self.step = even(end - start, self.fine);
            }
            Point::End(_) => {
                self.is_within = false;
                self.skip_to_next();
            }
        }
        Some(point)
    }

    /// Where the next wanted range starts, if none is being passed.
    pub(super) fn awaited(&self) -> Option<u64> {
        let current = self.current.as_ref().filter(|_| !self.is_within);
        current.map(|range| range.start)
    }

    fn peek(&self) -> Point {
        let next = self.last.saturating_add(self.step);
        match &self.current {
            Some(range) if self.is_within && next >= range.end => Point::End(range.end),
            Some(range) if !self.is_within && next >= range.start => Point::Start(range.start),
            _ => Point::Within(next),
        }
    }

    fn skip_to_next(&mut self) {
        self.current = self.wanted.next();
        let distance = self
            .current
            .as_ref()
            .map(|range| range.start.saturating_sub(self.last));
        self.step = distance.map_or(self.coarse, |distance| even(distance, self.coarse));
    }
}

/// The length of equal pieces, none longer than `max`.
fn even(len: u64, max: u64) -> u64 {
    len.div_ceil(len.div_ceil(max).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::Point::{End, Start, Within};
    use super::*;
    use crate::profile::FirstRead;

    fn cuts(reads: &[Range<u64>], span_size: u64) -> Cuts {
        let reads = reads.iter().cloned();
        let profile = LayerProfile::new(reads.map(|tar| FirstRead { tar, at_ms: 0 }));
        Cuts::around(&profile, span_size)
    }

    fn check(wanted: &[Range<u64>], expected: &[Point]) {
        let mut points = Points::new(wanted.to_vec(), 10, 100);
        for point in expected {
            assert_eq!(points.next_until(u64::MAX), Some(*point), "{wanted:?}");
        }
    }

    #[test]
    fn long_stretches_are_cut_evenly() {
        check(&[], &[Within(100), Within(200), Within(300)]);
        check(
            &[110..131, 140..145],
            &[
                Within(55),
                Start(110),
                Within(117),
                Within(124),
                End(131),
                Start(140),
                End(145),
                Within(245),
            ],
        );
        check(
            &[0..10, 210..211],
            &[Start(0), End(10), Within(110), Start(210), End(211)],
        );
        let all = 0..u64::MAX;
        check(
            std::slice::from_ref(&all),
            &[Start(0), Within(10), Within(20)],
        );
    }

    #[test]
    fn points_come_when_they_are_reached() {
        let mut points = Points::new(std::iter::once(50..60).collect(), 10, 100);
        assert_eq!(points.awaited(), Some(50));
        assert_eq!(points.next_until(49), None);
        assert_eq!(points.next_until(50), Some(Start(50)));
        assert_eq!((points.awaited(), points.next_until(59)), (None, None));
        assert_eq!(points.next_until(500), Some(End(60)));
        assert_eq!(points.next_until(500), Some(Within(160)));
        assert_eq!(points.awaited(), None);
    }

    #[test]
    fn reads_get_room_for_headers_and_read_ahead() {
        let near = [
            10 << 20..11 << 20,
            (11 << 20) + 1..12 << 20,
            40 << 20..41 << 20,
        ];
        let cuts = cuts(&near, 4 << 20);
        let wanted = wanted(&cuts.reads, 64 << 10);
        let room = |range: Range<u64>| range.start - HEADER..range.end + READ_AHEAD;
        assert_eq!(wanted, [room(10 << 20..12 << 20), room(40 << 20..41 << 20)]);
        let narrow = super::wanted(&[0..10, 300_000..300_001], 0);
        assert_eq!(narrow.len(), 2);
        let wide = super::wanted(&[0..10, 300_000..300_001], 200_000);
        assert_eq!((wide.len(), wide[0].end), (1, 300_001 + READ_AHEAD));
        let far = super::wanted(&[1..2, u64::MAX - 1..u64::MAX], 10);
        assert_eq!(far[1].end, u64::MAX);
    }
}
