//! The members of a tar that streams by, as a table of contents.

use super::members::Header;
use super::stream::Stream;
use crate::error::Error;
use crate::limits::Limits;
use crate::toc::{Member, Toc, TocBuilder};

/// Lists the members of a tar given in pieces of any size, as a zTOC of it would.
///
/// Holds one header at a time besides the list. After an error every further call is one too.
pub struct Scanner {
    stream: Stream,
    builder: TocBuilder,
}

impl Scanner {
    pub fn new(limits: &Limits) -> Self {
        Self {
            stream: Stream::default(),
            builder: TocBuilder::new(limits),
        }
    }

    /// Takes the next bytes of the tar. What follows its end is ignored.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Self { stream, builder } = self;
        stream.push(bytes, &mut |header, offset| list(builder, header, offset))
    }

    /// The list. Like Go's reader this accepts a tar that ends between two members, without zero blocks.
    pub fn finish(self) -> Result<Toc, Error> {
        self.builder.finish(self.stream.end()?)
    }
}

fn list(builder: &mut TocBuilder, header: &Header, offset: u64) -> Result<(), Error> {
    let xattrs: Vec<_> = header.xattrs().collect();
    builder.push(&Member {
        name: &header.name,
        linkname: &header.linkname,
        kind: header.kind,
        mode: header.permissions(),
        uid: header.uid,
        gid: header.gid,
        mtime: Some(header.mtime),
        device: header.device,
        size: header.data_len(),
        offset,
        xattrs: &xattrs,
    })
}
