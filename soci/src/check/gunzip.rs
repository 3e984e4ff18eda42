//! Inflates a gzip stream from its start, with another decoder than zTOCs are built with.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::gzip;

/// Room for output.
const OUTPUT: usize = 64 << 10;
/// Longest member header that is waited for.
const MAX_HEADER: usize = 1 << 20;

pub(super) struct Gunzip {
    stage: Stage,
    decoder: Decompress,
    output: Vec<u8>,
    /// Of the member so far.
    crc: Crc,
    members: u64,
}

/// What the next bytes are.
enum Stage {
    Header(Vec<u8>),
    Deflate,
    Trailer(Vec<u8>),
    /// A member is complete; another may follow.
    Complete,
}

/// Why inflating stopped for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Header(&'static str),
    Deflate,
    Checksum,
    /// What follows the last member is none.
    Trailing,
    CutShort,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header(Vec::new()),
            decoder: Decompress::new(false),
            output: vec![0; OUTPUT],
            crc: Crc::new(),
            members: 0,
        }
    }

    /// Members begun so far.
    pub(super) fn members(&self) -> u64 {
        self.members
    }

    /// Takes the next bytes and hands on what they inflate to.
    pub(super) fn push(
        &mut self,
        mut input: &[u8],
        mut output: impl FnMut(&[u8]),
    ) -> Result<(), Fault> {
        while !input.is_empty() {
            input = match std::mem::replace(&mut self.stage, Stage::Complete) {
                Stage::Complete if input.first() != Some(&0x1f) => return Err(Fault::Trailing),
                Stage::Complete => {
                    self.stage = Stage::Header(Vec::new());
                    input
                }
                Stage::Header(header) => self.header(header, input)?,
                Stage::Deflate => self.deflate(input, &mut output)?,
                Stage::Trailer(trailer) => self.trailer(trailer, input)?,
            };
        }
        Ok(())
    }

    /// Whether the stream may end here.
    pub(super) fn finish(&self) -> Result<(), Fault> {
        match self.stage {
            Stage::Complete if self.members > 0 => Ok(()),
            _ => Err(Fault::CutShort),
        }
    }

    /// Returns what it does not need; so do the others.
    fn header<'a>(&mut self, mut header: Vec<u8>, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let taken = input.get(..MAX_HEADER).unwrap_or(input);
        header.extend_from_slice(taken);
        match gzip::skip_header(&header) {
            Ok(rest) => {
                self.members += 1;
                self.crc.reset();
                self.decoder.reset(false);
                self.stage = Stage::Deflate;
                let unused = taken.len().checked_sub(rest.len());
                Ok(unused.and_then(|at| input.get(at..)).unwrap_or_default())
            }
            Err(gzip::CUT_SHORT) if header.len() < MAX_HEADER => {
                self.stage = Stage::Header(header);
                Ok(&[])
            }
            Err(_) if self.members > 0 => Err(Fault::Trailing),
            Err(reason) => Err(Fault::Header(reason)),
        }
    }

    fn deflate<'a>(
        &mut self,
        mut input: &'a [u8],
        output: &mut impl FnMut(&[u8]),
    ) -> Result<&'a [u8], Fault> {
        loop {
            let (read, written) = (self.decoder.total_in(), self.decoder.total_out());
            let status = self
                .decoder
                .decompress(input, &mut self.output, FlushDecompress::None)
                .map_err(|_| Fault::Deflate)?;
            let consumed = distance(read, self.decoder.total_in());
            let produced = distance(written, self.decoder.total_out());
            let fresh = self.output.get(..produced).unwrap_or_default();
            self.crc.update(fresh);
            output(fresh);
            input = input.get(consumed..).unwrap_or_default();
            if status == Status::StreamEnd {
                self.stage = Stage::Trailer(Vec::new());
                return Ok(input);
            }
            // A full buffer may mean that more output waits, also without more input.
            if input.is_empty() && produced < self.output.len() {
                self.stage = Stage::Deflate;
                return Ok(input);
            }
            if consumed == 0 && produced == 0 {
                return Err(Fault::Deflate);
            }
        }
    }

    fn trailer<'a>(&mut self, mut trailer: Vec<u8>, input: &'a [u8]) -> Result<&'a [u8], Fault> {
        let missing = 8 - trailer.len().min(8);
        let (taken, rest) = input.split_at_checked(missing).unwrap_or((input, &[]));
        trailer.extend_from_slice(taken);
        let Ok(stored) = <[u8; 8]>::try_from(trailer.as_slice()) else {
            self.stage = Stage::Trailer(trailer);
            return Ok(rest);
        };
        let [c0, c1, c2, c3] = self.crc.sum().to_le_bytes();
        let [l0, l1, l2, l3] = self.crc.amount().to_le_bytes();
        if stored != [c0, c1, c2, c3, l0, l1, l2, l3] {
            return Err(Fault::Checksum);
        }
        self.stage = Stage::Complete;
        Ok(rest)
    }
}

fn distance(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}
