//! Raw deflate, decoded into one buffer that holds its own history.
//!
//! Made for spans and for building them: it stops between blocks, says on which bit, and starts on any bit.
//! It accepts exactly the streams that zlib accepts.

mod bits;
mod careful;
mod codes;
mod copy;
mod fast;
mod header;

use bits::{Bits, Input};
use codes::Codes;
use header::Header;

/// Room for output that each step may fill; with less, decoding stops.
pub(crate) const MARGIN: usize = 320;

/// Decodes one stream after another.
pub(crate) struct Inflate {
    /// Fewer than 8 bits between blocks; those of one unfinished symbol at most within one.
    bits: Bits,
    stage: Stage,
    is_last: bool,
    header: Box<Header>,
    codes: Box<Codes>,
}

/// What the next bits are.
#[derive(Clone, Copy)]
enum Stage {
    Block,
    Stored(u16),
    Header,
    Symbols,
    End,
}

/// Why decoding stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// After a block that is not the last. So many high-order bits of the byte consumed last belong to
    /// the next block, 0 to 7.
    Boundary { bits: u8 },
    /// After the last block; what is left of the byte consumed last is padding.
    End,
    /// All input is consumed.
    Input,
    /// Less than [`MARGIN`] is left of the output.
    Room,
}

/// How far decoding has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Bytes of input.
    pub(crate) consumed: usize,
    /// End of the output.
    pub(crate) end: usize,
    pub(crate) stop: Stop,
}

/// Where output goes: `buffer[start..at]` is the history.
struct Output<'a> {
    buffer: &'a mut [u8],
    start: usize,
    at: usize,
}

/// A stream that is not deflate, and why.
pub(crate) type Invalid = &'static str;

const NO_DISTANCE: Invalid = "an invalid code of a distance";

impl Inflate {
    pub(crate) fn new() -> Self {
        Self {
            bits: Bits::default(),
            stage: Stage::Block,
            is_last: false,
            header: Box::default(),
            codes: Box::default(),
        }
    }

    /// Begins another stream, with the last `bits` bits of `shared`, 0 to 7.
    pub(crate) fn restart(&mut self, shared: u8, bits: u8) {
        self.bits = Bits::high(shared, bits);
        self.stage = Stage::Block;
        self.is_last = false;
    }

    /// Decodes until something stops it. Output goes to `buffer[at..]`; the stream may refer back to
    /// `buffer[start..at]`. What is behind the end of the output may be overwritten.
    pub(crate) fn read(
        &mut self,
        input: &[u8],
        buffer: &mut [u8],
        start: usize,
        at: usize,
    ) -> Result<Progress, Invalid> {
        let mut input = Input::new(input);
        let mut output = Output { buffer, start, at };
        let stop = self.run(&mut input, &mut output)?;
        Ok(Progress {
            consumed: input.consumed(),
            end: output.at,
            stop,
        })
    }

    fn run(&mut self, input: &mut Input<'_>, output: &mut Output<'_>) -> Result<Stop, Invalid> {
        loop {
            let is_over = match &mut self.stage {
                Stage::Block => {
                    if !self.begin(input)? {
                        return Ok(Stop::Input);
                    }
                    false
                }
                Stage::Stored(left) => {
                    if let Some(stop) = output.copy_stored(left, input) {
                        return Ok(stop);
                    }
                    true
                }
                Stage::Header => {
                    if !self.header.read(&mut self.bits, input)? {
                        return Ok(Stop::Input);
                    }
                    self.codes.set(self.header.lengths())?;
                    self.stage = Stage::Symbols;
                    false
                }
                Stage::Symbols => {
                    fast::decode(&self.codes, &mut self.bits, input, output)?;
                    match careful::decode(&self.codes, &mut self.bits, input, output)? {
                        careful::Step::BlockEnd => true,
                        careful::Step::More => false,
                        careful::Step::Stop(stop) => return Ok(stop),
                    }
                }
                Stage::End => return Ok(Stop::End),
            };
            if is_over && self.is_last {
                self.bits = Bits::default();
                self.stage = Stage::End;
            } else if is_over {
                self.stage = Stage::Block;
                // No whole byte was brought that was not wanted.
                let bits = u8::try_from(self.bits.count % 8).unwrap_or(0);
                return Ok(Stop::Boundary { bits });
            }
        }
    }

    /// Reads what every block begins with. Whether all of it was there.
    fn begin(&mut self, input: &mut Input<'_>) -> Result<bool, Invalid> {
        if !self.bits.want(3, input) {
            return Ok(false);
        }
        match self.bits.peek(3) >> 1 {
            0 => {
                // Lengths start at the next byte.
                let padding = (self.bits.count - 3) % 8;
                let head = 3 + padding;
                if !self.bits.want(head + 32, input) {
                    return Ok(false);
                }
                self.is_last = self.bits.take(3) & 1 == 1;
                self.bits.take(padding);
                let (len, check) = (self.bits.take(16), self.bits.take(16));
                if len != check ^ 0xffff {
                    return Err("a stored block's length does not match its complement");
                }
                self.stage = Stage::Stored(u16::try_from(len).unwrap_or(0));
            }
            1 => {
                self.is_last = self.bits.take(3) & 1 == 1;
                self.codes.set_fixed()?;
                self.stage = Stage::Symbols;
            }
            2 => {
                self.is_last = self.bits.take(3) & 1 == 1;
                self.stage = Stage::Header;
                *self.header = Header::default();
            }
            _ => return Err("a block's type is unknown"),
        }
        Ok(true)
    }
}

impl Output<'_> {
    fn has_room(&self) -> bool {
        self.buffer.len().saturating_sub(self.at) >= MARGIN
    }

    /// Copies what is `left` of a stored block; what stopped it before the end.
    fn copy_stored(&mut self, left: &mut u16, input: &mut Input<'_>) -> Option<Stop> {
        while *left > 0 {
            if !self.has_room() {
                return Some(Stop::Room);
            }
            let free = self.buffer.get_mut(self.at..).unwrap_or_default();
            let bytes = input.take(free.len().min(usize::from(*left)));
            if bytes.is_empty() {
                return Some(Stop::Input);
            }
            if let Some(free) = free.get_mut(..bytes.len()) {
                free.copy_from_slice(bytes);
            }
            self.at += bytes.len();
            *left -= u16::try_from(bytes.len()).unwrap_or(*left);
        }
        None
    }
}

#[cfg(test)]
mod tests;
