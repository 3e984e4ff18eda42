//! Deflate streams, inflated up to the next block boundary.

use std::ops::Range;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
    TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
};
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::error::BuildError;
use crate::spans::WINDOW;

/// Room for output behind the history. More falls out of the caches.
const OUTPUT: usize = 256 << 10;
/// With less room than this the decoder leaves its fast path too often.
const LEAST_ROOM: usize = 16 << 10;
/// Longest input of one call; the decoder counts in 32 bits.
const MAX_INPUT: usize = 1 << 30;

/// Where inflating stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// After a block that is not the last. So many high-order bits of the byte consumed last belong to
    /// the next block, 0 to 7.
    Boundary { bits: u8 },
    /// After the last block.
    End,
    /// For want of input or of room.
    Pause,
}

/// Holds the last 32 KiB of output, across streams, and what came after them in one buffer that is not a
/// ring: a window is a slice.
pub(super) struct Inflater {
    decoder: Box<DecompressorOxide>,
    buffer: Vec<u8>,
    /// Start of the history a stream may refer to: its own output.
    start: usize,
    /// Output of the last call.
    fresh: Range<usize>,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            decoder: Box::default(),
            // Zeros stand before the first byte of output.
            buffer: vec![0; WINDOW + OUTPUT],
            start: WINDOW,
            fresh: WINDOW..WINDOW,
        }
    }

    /// Begins another stream. It does not see the history, but its windows show it.
    pub(super) fn restart(&mut self) {
        self.decoder.init();
        self.start = self.fresh.end;
        self.pause();
    }

    /// Steps over what is not deflate: there is no output.
    pub(super) fn pause(&mut self) {
        self.fresh.start = self.fresh.end;
    }

    /// Inflates until something stops it: how much was consumed, and why it stopped.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, Stop), BuildError> {
        self.make_room();
        let input = input.get(..MAX_INPUT).unwrap_or(input);
        let output = self.buffer.get_mut(self.start..).unwrap_or_default();
        let (status, consumed, produced) = decompress(
            &mut self.decoder,
            input,
            output,
            self.fresh.end - self.start,
            TINFL_FLAG_HAS_MORE_INPUT
                | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY
                | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF,
        );
        self.fresh = self.fresh.end..self.fresh.end + produced;
        let invalid = || BuildError::malformed("invalid deflate data");
        let stop = match status {
            TINFLStatus::BlockBoundary => {
                let state = self.decoder.block_boundary_state().ok_or_else(invalid)?;
                Stop::Boundary {
                    bits: state.num_bits,
                }
            }
            TINFLStatus::Done => Stop::End,
            TINFLStatus::NeedsMoreInput | TINFLStatus::HasMoreOutput
                if consumed > 0 || produced > 0 =>
            {
                Stop::Pause
            }
            _ => return Err(invalid()),
        };
        Ok((consumed, stop))
    }

    /// Output of the last call.
    pub(super) fn fresh(&self) -> &[u8] {
        self.buffer.get(self.fresh.clone()).unwrap_or_default()
    }

    /// The last 32 KiB of output; zeros where there was none yet.
    pub(super) fn window(&self) -> &[u8] {
        let end = self.fresh.end;
        self.buffer.get(end - WINDOW..end).unwrap_or_default()
    }

    /// Moves the history to the front of the buffer when there is little room behind it.
    fn make_room(&mut self) {
        if self.buffer.len() - self.fresh.end >= LEAST_ROOM {
            return;
        }
        let shift = self.fresh.end - WINDOW;
        self.buffer.copy_within(shift..self.fresh.end, 0);
        self.start = self.start.saturating_sub(shift);
        self.fresh = WINDOW..WINDOW;
    }
}
