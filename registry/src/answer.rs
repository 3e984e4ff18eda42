//! The body of an answer, cut to the part of the blob that was asked for.

use std::ops::Range;

use bytes::Bytes;

use crate::Error;
use crate::transport::{Body, Reply};

pub(crate) struct Answer {
    body: Body,
    target: String,
    /// Bytes still to be passed over.
    before: u64,
    length: u64,
    /// Bytes of the part still to come.
    room: u64,
    /// More than the part comes, and is left on the wire.
    is_whole: bool,
}

impl Answer {
    pub(crate) fn part(reply: Reply, range: &Range<u64>) -> Answer {
        let length = range.end.saturating_sub(range.start);
        Answer {
            target: reply.target().to_owned(),
            body: reply.body,
            before: 0,
            length,
            room: length,
            is_whole: false,
        }
    }

    /// The blob from its first byte on.
    pub(crate) fn whole(reply: Reply, range: &Range<u64>) -> Answer {
        Answer {
            before: range.start,
            is_whole: true,
            ..Answer::part(reply, range)
        }
    }

    /// The next piece; `None` once all of the part has been handed out. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if self.room == 0 && self.is_whole {
                return Ok(None);
            }
            let Some(mut chunk) = self.body.chunk().await? else {
                return match self.room {
                    0 => Ok(None),
                    _ => Err(self.ended()),
                };
            };
            let skipped = usize::try_from(self.before).map_or(chunk.len(), |n| n.min(chunk.len()));
            self.before = self.before.saturating_sub(size(skipped));
            let mut chunk = chunk.split_off(skipped);
            if size(chunk.len()) > self.room {
                if !self.is_whole {
                    return Err(Error::Range {
                        target: self.target.clone(),
                        reason: format!("more than the {} bytes asked for", self.length),
                    });
                }
                chunk.truncate(usize::try_from(self.room).unwrap_or(usize::MAX));
            }
            self.room = self.room.saturating_sub(size(chunk.len()));
            if !chunk.is_empty() {
                return Ok(Some(chunk));
            }
        }
    }

    fn ended(&self) -> Error {
        let got = self.length.saturating_sub(self.room);
        Error::Transport {
            target: self.target.clone(),
            reason: format!("the body ended after {got} of {} bytes", self.length),
        }
    }
}

fn size(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
