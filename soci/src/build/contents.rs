//! The tar of a layer while it goes by: its length and its members.

use super::budget::Budget;
use super::error::BuildError;
use super::files::Files;
use crate::limits::Limits;
use crate::tar::Stream;

pub(super) struct Contents {
    len: u64,
    tar: Stream,
    files: Files,
}

impl Contents {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            len: 0,
            tar: Stream::default(),
            files: Files::new(limits),
        }
    }

    /// The next bytes of the tar.
    pub(super) fn push(&mut self, bytes: &[u8], budget: &mut Budget) -> Result<(), BuildError> {
        self.len += bytes.len() as u64;
        let files = &mut self.files;
        self.tar.push(bytes, &mut |header, offset| {
            files.push(header, offset, budget)
        })
    }

    /// Bytes so far, with the padding behind the tar's end.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn finish(self) -> Result<Tar, BuildError> {
        Ok(Tar {
            end: self.tar.end()?,
            files: self.files,
        })
    }
}

/// A tar that was read whole.
pub(super) struct Tar {
    /// Just past its second zero block.
    pub(super) end: u64,
    pub(super) files: Files,
}
