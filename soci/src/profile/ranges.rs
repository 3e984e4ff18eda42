//! Arithmetic on ranges that carry a time and a count.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::first_read::FirstRead;

/// Neighbours read within the same so many milliseconds are one range.
const MOMENT_MS: u32 = 32;
/// Widest gap that is taken into a range when there are too many ranges.
const MAX_GAP: u64 = 256 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) at_ms: u32,
    pub(super) runs: u32,
}

impl Piece {
    pub(super) fn new(read: &FirstRead, runs: u32) -> Self {
        Self {
            start: read.tar.start,
            end: read.tar.end,
            at_ms: read.at_ms,
            runs,
        }
    }

    pub(super) fn read(&self) -> FirstRead {
        FirstRead {
            tar: self.start..self.end,
            at_ms: self.at_ms,
        }
    }
}

/// The same ranges without overlaps, in the order of the tar. Of what overlaps, the earliest time and the
/// largest count hold.
pub(super) fn disjoint(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.retain(|piece| piece.start < piece.end);
    pieces.sort_unstable_by_key(|piece| (piece.start, piece.end, piece.at_ms, piece.runs));
    let mut result: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut edges: Vec<u64> = pieces.iter().flat_map(|p| [p.start, p.end]).collect();
    edges.sort_unstable();
    edges.dedup();
    let mut ahead = pieces.into_iter().peekable();
    // Those that cover the current place: what ended is dropped when it comes to the top.
    let mut earliest = BinaryHeap::new();
    let mut most = BinaryHeap::new();
    for edge in edges.windows(2) {
        let &[start, end] = edge else { continue };
        while let Some(piece) = ahead.next_if(|piece| piece.start <= start) {
            earliest.push(Reverse((piece.at_ms, piece.end)));
            most.push((piece.runs, piece.end));
        }
        while earliest.peek().is_some_and(|top| top.0.1 <= start) {
            earliest.pop();
        }
        while most.peek().is_some_and(|top| top.1 <= start) {
            most.pop();
        }
        if let (Some(Reverse((at_ms, _))), Some((runs, _))) = (earliest.peek(), most.peek()) {
            push(
                &mut result,
                Piece {
                    start,
                    end,
                    at_ms: *at_ms,
                    runs: *runs,
                },
            );
        }
    }
    result
}

/// Appends a piece; one that only continues the last is joined to it.
fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    match pieces.last_mut() {
        Some(last)
            if last.end == piece.start && last.at_ms == piece.at_ms && last.runs == piece.runs =>
        {
            last.end = piece.end;
        }
        _ => pieces.push(piece),
    }
}

/// What either covers, of two lists without overlaps in the order of the tar. Where both do, the earlier time
/// holds, and `runs` makes one count of two.
pub(super) fn overlay(a: &[Piece], b: &[Piece], runs: impl Fn(u32, u32) -> u32) -> Vec<Piece> {
    let (mut a, mut b) = (a.iter().copied(), b.iter().copied());
    let (mut left, mut right) = (a.next(), b.next());
    let mut result = Vec::new();
    loop {
        let (x, y) = match (left, right) {
            (Some(x), Some(y)) => (x, y),
            (None, None) => return result,
            (Some(x), None) => {
                push(&mut result, x);
                left = a.next();
                continue;
            }
            (None, Some(y)) => {
                push(&mut result, y);
                right = b.next();
                continue;
            }
        };
        if x.start < y.start {
            let end = x.end.min(y.start);
            push(&mut result, Piece { end, ..x });
            left = rest(x, end).or_else(|| a.next());
        } else if y.start < x.start {
            let end = y.end.min(x.start);
            push(&mut result, Piece { end, ..y });
            right = rest(y, end).or_else(|| b.next());
        } else {
            let end = x.end.min(y.end);
            let both = Piece {
                start: x.start,
                end,
                at_ms: x.at_ms.min(y.at_ms),
                runs: runs(x.runs, y.runs),
            };
            push(&mut result, both);
            left = rest(x, end).or_else(|| a.next());
            right = rest(y, end).or_else(|| b.next());
        }
    }
}

fn rest(piece: Piece, start: u64) -> Option<Piece> {
    (start < piece.end).then_some(Piece { start, ..piece })
}

/// Joins neighbours that touch, were read by as many starts and within the same moment.
pub(super) fn joined(pieces: Vec<Piece>) -> Vec<Piece> {
    let moment = |piece: &Piece| piece.at_ms / MOMENT_MS;
    let mut result: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match result.last_mut() {
            Some(last)
                if last.end == piece.start
                    && last.runs == piece.runs
                    && moment(last) == moment(&piece) =>
            {
                absorb(last, &piece);
            }
            _ => result.push(piece),
        }
    }
    result
}

/// At most `max` pieces: first the narrowest gaps are filled, then what was read last is left out.
pub(super) fn bounded(pieces: Vec<Piece>, max: usize) -> Vec<Piece> {
    let Some(excess) = pieces.len().checked_sub(max).filter(|excess| *excess > 0) else {
        return pieces;
    };
    let mut gaps: Vec<(u64, usize)> = pieces
        .windows(2)
        .zip(1..)
        .filter_map(|(pair, position)| match pair {
            [left, right] => Some((right.start.saturating_sub(left.end), position)),
            _ => None,
        })
        .filter(|(gap, _)| *gap <= MAX_GAP)
        .collect();
    gaps.sort_unstable();
    gaps.truncate(excess);
    let mut filled: Vec<usize> = gaps.into_iter().map(|(_, position)| position).collect();
    filled.sort_unstable();
    let mut filled = filled.into_iter().peekable();
    let mut result: Vec<Piece> = Vec::with_capacity(max);
    for (position, piece) in pieces.into_iter().enumerate() {
        match result.last_mut() {
            Some(last) if filled.next_if_eq(&position).is_some() => absorb(last, &piece),
            _ => result.push(piece),
        }
    }
    if result.len() > max {
        result.sort_unstable_by_key(|piece| (piece.at_ms, piece.start));
        result.truncate(max);
        result.sort_unstable_by_key(|piece| piece.start);
    }
    result
}

fn absorb(last: &mut Piece, piece: &Piece) {
    last.end = piece.end;
    last.at_ms = last.at_ms.min(piece.at_ms);
    last.runs = last.runs.max(piece.runs);
}
