//! Cuts a tar that streams by into its members.

use super::block::Raw;
use super::members::{Header, Members, Step};
use crate::error::Error;
use crate::toc::BLOCK;

/// Holds one header at a time, whatever the size of the pieces. After an error every further call is one too.
pub(crate) struct Stream {
    state: State,
    block: Raw,
    /// Content of an extended header as far as it has come.
    payload: Vec<u8>,
    members: Members,
    position: u64,
}

/// What the next bytes are; none of the lengths is 0.
#[derive(Clone, Copy)]
enum State {
    /// Of a header block, the first `filled` bytes of which are in.
    Header {
        filled: usize,
        after_zero: bool,
    },
    /// Of an extended header.
    Meta {
        missing: u64,
        padding: u64,
    },
    /// Of a file.
    Data {
        missing: u64,
        padding: u64,
    },
    Padding {
        missing: u64,
    },
    /// Beyond the two zero blocks.
    End,
    Failed,
}

const NEXT_HEADER: State = State::Header {
    filled: 0,
    after_zero: false,
};

impl Default for Stream {
    fn default() -> Self {
        Self {
            state: NEXT_HEADER,
            block: [0; 512],
            payload: Vec::new(),
            members: Members::default(),
            position: 0,
        }
    }
}

impl Stream {
    /// Takes the next bytes of the tar and hands each member to `list`, with the offset of its data. What
    /// follows the end of the tar is ignored.
    pub(crate) fn push<E: From<Error>>(
        &mut self,
        mut bytes: &[u8],
        list: &mut impl FnMut(&Header, u64) -> Result<(), E>,
    ) -> Result<(), E> {
        while !bytes.is_empty() && !matches!(self.state, State::End) {
            let state = std::mem::replace(&mut self.state, State::Failed);
            let wanted = match state {
                State::Header { filled, .. } => (self.block.len() - filled) as u64,
                State::Meta { missing, .. }
                | State::Data { missing, .. }
                | State::Padding { missing } => missing,
                State::End | State::Failed => 0,
            };
            let len = usize::try_from(wanted)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let (taken, rest) = bytes.split_at(len);
            self.position += len as u64;
            self.state = self.take(state, taken, list)?;
            bytes = rest;
        }
        Ok(())
    }

    /// Where the tar ends. Like Go's reader this accepts a tar that ends between two members, without zero
    /// blocks.
    pub(crate) fn end(&self) -> Result<u64, Error> {
        match self.state {
            State::Header { filled: 0, .. } | State::Padding { .. } | State::End => {
                Ok(self.position)
            }
            State::Header { .. } => Err(Error::TarTruncated("header")),
            State::Meta { .. } => Err(Error::TarTruncated("extended header")),
            State::Data { .. } => Err(Error::TarTruncated("file")),
            State::Failed => Err(FAILED),
        }
    }

    /// The state after `bytes`, which are no more than `state` wants.
    fn take<E: From<Error>>(
        &mut self,
        state: State,
        bytes: &[u8],
        list: &mut impl FnMut(&Header, u64) -> Result<(), E>,
    ) -> Result<State, E> {
        let len = bytes.len() as u64;
        match state {
            State::Header { filled, after_zero } => {
                let end = filled + bytes.len();
                if let Some(free) = self.block.get_mut(filled..end) {
                    free.copy_from_slice(bytes);
                }
                if end < self.block.len() {
                    return Ok(State::Header {
                        filled: end,
                        after_zero,
                    });
                }
                self.header(after_zero, list)
            }
            State::Meta { missing, padding } => {
                self.payload.extend_from_slice(bytes);
                Ok(self.meta(missing - len, padding)?)
            }
            State::Data { missing, padding } => Ok(data(missing - len, padding)),
            State::Padding { missing } => Ok(data(0, missing - len)),
            State::End => Ok(State::End),
            State::Failed => Err(FAILED.into()),
        }
    }

    fn header<E: From<Error>>(
        &mut self,
        after_zero: bool,
        list: &mut impl FnMut(&Header, u64) -> Result<(), E>,
    ) -> Result<State, E> {
        match (self.block == [0; 512], after_zero) {
            (true, true) => return Ok(State::End),
            (true, false) => {
                return Ok(State::Header {
                    filled: 0,
                    after_zero: true,
                });
            }
            (false, true) => return Err(Error::Tar("a single zero block between members").into()),
            (false, false) => {}
        }
        match self.members.header(&self.block)? {
            Step::Meta { size } => {
                self.payload.clear();
                Ok(self.meta(size, padding(size))?)
            }
            Step::Member(member) => {
                list(&member, self.position)?;
                Ok(data(member.data_len(), padding(member.data_len())))
            }
        }
    }

    fn meta(&mut self, missing: u64, padding: u64) -> Result<State, Error> {
        if missing > 0 {
            return Ok(State::Meta { missing, padding });
        }
        self.members.payload(&self.payload)?;
        Ok(data(0, padding))
    }
}

const FAILED: Error = Error::Tar("an earlier part of it was refused");

fn data(missing: u64, padding: u64) -> State {
    match (missing, padding) {
        (0, 0) => NEXT_HEADER,
        (0, missing) => State::Padding { missing },
        (missing, padding) => State::Data { missing, padding },
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}
