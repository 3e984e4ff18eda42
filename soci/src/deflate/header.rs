//! The codes that a dynamic block brings along.

use super::Invalid;
use super::bits::{Bits, Input};
use super::codes::{Entry, MAX_DISTANCES, MAX_LITLENS, fill};

/// The order in which lengths of the code come that the other lengths are written in.
const ORDER: [u8; 19] = [
    16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15,
];
/// Longest length in that code.
const BITS: u8 = 7;
/// What zlib takes; the format has room for more.
const LITLENS: usize = 286;
const DISTANCES: usize = 30;

/// Values of the last three symbols, whose extra bits are how often they repeat a length.
const AGAIN: usize = 16;
const ZEROS: usize = AGAIN + 4;
const MANY_ZEROS: usize = ZEROS + 8;

const TOO_MANY: Invalid = "a block has too many codes";
const NO_CODE: Invalid = "a block's codes of lengths are no code";
const NO_LENGTHS: Invalid = "a block's code lengths do not fit";

/// As much of it as there was input for.
#[derive(Clone, Copy)]
pub(super) struct Header {
    part: Part,
    litlens: usize,
    distances: usize,
    /// Those of the code first read, then all others one after the other.
    lens: [u8; MAX_LITLENS + MAX_DISTANCES],
    known: usize,
    table: [Entry; 1 << BITS],
}

#[derive(Clone, Copy)]
enum Part {
    Counts,
    Code { count: usize },
    Lengths,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            part: Part::Counts,
            litlens: 0,
            distances: 0,
            lens: [0; MAX_LITLENS + MAX_DISTANCES],
            known: 0,
            table: [Entry::default(); 1 << BITS],
        }
    }
}

impl Header {
    /// Whether there was input for all of it.
    pub(super) fn read(&mut self, bits: &mut Bits, input: &mut Input<'_>) -> Result<bool, Invalid> {
        loop {
            let is_complete = match self.part {
                Part::Counts => self.counts(bits, input)?,
                Part::Code { count } => self.code(count, bits, input)?,
                Part::Lengths => return self.lens(bits, input),
            };
            if !is_complete {
                return Ok(false);
            }
        }
    }

    /// Lengths of the codes of literals and lengths, and of distances.
    pub(super) fn lengths(&self) -> (&[u8], &[u8]) {
        let all = self.lens.get(..self.known).unwrap_or_default();
        all.split_at_checked(self.litlens).unwrap_or_default()
    }

    fn counts(&mut self, bits: &mut Bits, input: &mut Input<'_>) -> Result<bool, Invalid> {
        if !bits.want(14, input) {
            return Ok(false);
        }
        let mut count = |width: u32| usize::try_from(bits.take(width)).unwrap_or(0);
        self.litlens = 257 + count(5);
        self.distances = 1 + count(5);
        let count = 4 + count(4);
        if self.litlens > LITLENS || self.distances > DISTANCES {
            return Err(TOO_MANY);
        }
        self.part = Part::Code { count };
        Ok(true)
    }

    fn code(
        &mut self,
        count: usize,
        bits: &mut Bits,
        input: &mut Input<'_>,
    ) -> Result<bool, Invalid> {
        for place in ORDER.iter().take(count).skip(self.known) {
            if !bits.want(3, input) {
                return Ok(false);
            }
            let len = u8::try_from(bits.take(3)).unwrap_or(0);
            *self.lens.get_mut(usize::from(*place)).ok_or(NO_CODE)? = len;
            self.known += 1;
        }
        let lens = self.lens.get(..ORDER.len()).unwrap_or_default();
        let is_whole = lens
            .iter()
            .filter(|len| **len > 0)
            .map(|len| 1 << (BITS - len))
            .sum::<u32>()
            == 1 << BITS;
        // Unlike the other codes, this one has to be complete.
        fill(&mut self.table, BITS, lens, symbol)
            .filter(|()| is_whole)
            .ok_or(NO_CODE)?;
        self.lens = [0; MAX_LITLENS + MAX_DISTANCES];
        self.known = 0;
        self.part = Part::Lengths;
        Ok(true)
    }

    fn lens(&mut self, bits: &mut Bits, input: &mut Input<'_>) -> Result<bool, Invalid> {
        let all = self.litlens + self.distances;
        while self.known < all {
            let index = usize::try_from(bits.peek(BITS.into())).unwrap_or(0);
            let entry = self.table.get(index).copied().unwrap_or_default();
            if bits.count < entry.bits() {
                if !bits.bring(input) {
                    return Ok(false);
                }
                continue;
            }
            let before = self.known.checked_sub(1).and_then(|at| self.lens.get(at));
            let (len, times) = match entry.value(bits.value) {
                len @ 0..AGAIN => (u8::try_from(len).unwrap_or(0), 1),
                value @ AGAIN..ZEROS => (*before.ok_or(NO_LENGTHS)?, 3 + value - AGAIN),
                value @ ZEROS..MANY_ZEROS => (0, 3 + value - ZEROS),
                value => (0, 11 + value - MANY_ZEROS),
            };
            bits.take(entry.bits());
            let free = self.lens.get_mut(self.known..all).unwrap_or_default();
            free.get_mut(..times).ok_or(NO_LENGTHS)?.fill(len);
            self.known += times;
        }
        Ok(true)
    }
}

/// The symbols of the code that lengths are written in. What repeats a length gets a range of values.
fn symbol(symbol: usize) -> Entry {
    match symbol {
        16 => Entry::number(AGAIN, 2),
        17 => Entry::number(ZEROS, 3),
        18 => Entry::number(MANY_ZEROS, 7),
        len => Entry::number(len, 0),
    }
}
