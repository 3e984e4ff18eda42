//! Deflate streams, inflated up to the next block boundary.

use std::ops::Range;

use super::error::BuildError;
use crate::deflate::{Inflate, Invalid, MARGIN};
use crate::spans::WINDOW;

pub(super) use crate::deflate::Stop;

/// Room for output behind the history. More falls out of the caches.
const OUTPUT: usize = 256 << 10;
/// With less room than this the history moves to the front.
const LEAST_ROOM: usize = 16 << 10;
const _: () = assert!(LEAST_ROOM >= MARGIN);

/// Holds the last 32 KiB of output, across streams, and what came after them in one buffer that is not a
/// ring: a window is a slice.
pub(super) struct Inflater {
    decoder: Inflate,
    buffer: Vec<u8>,
    /// Start of the history a stream may refer to: its own output.
    start: usize,
    /// Output of the last call.
    fresh: Range<usize>,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self {
            decoder: Inflate::new(),
            // Zeros stand before the first byte of output.
            buffer: vec![0; WINDOW + OUTPUT],
            start: WINDOW,
            fresh: WINDOW..WINDOW,
        }
    }

    /// Begins another stream. It does not see the history, but its windows show it.
    pub(super) fn restart(&mut self) {
        self.decoder.restart(0, 0);
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
        let at = self.fresh.end;
        let progress = self.decoder.read(input, &mut self.buffer, self.start, at);
        let progress = progress.map_err(invalid)?;
        self.fresh = at..progress.end;
        Ok((progress.consumed, progress.stop))
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

fn invalid(reason: Invalid) -> BuildError {
    BuildError::malformed(format!("invalid deflate data: {reason}"))
}
