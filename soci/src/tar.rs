//! Tar headers with the semantics of Go's archive/tar, which is where zTOCs get their fields from.

mod block;
mod members;
mod pax;
mod scanner;
mod stream;

use crate::error::Error;
use crate::toc::{BLOCK, Entry};
use members::{Members, Step};

pub(crate) use members::Header;
pub use scanner::Scanner;
pub(crate) use stream::Stream;

/// Whether `header`, the bytes between an entry's header offset and its data, hold exactly one member and
/// that member is the entry.
pub fn check_member(header: &[u8], entry: &Entry<'_>) -> Result<(), Error> {
    let mut members = Members::default();
    let mut rest = header;
    loop {
        let (block, tail) = rest
            .split_first_chunk()
            .ok_or(Error::TarTruncated("header"))?;
        rest = tail;
        match members.header(block)? {
            Step::Meta { size } => {
                let truncated = || Error::TarTruncated("meta header");
                let len = usize::try_from(size).ok().ok_or_else(truncated)?;
                let padded = usize::try_from(size.next_multiple_of(BLOCK)).unwrap_or(usize::MAX);
                let (payload, tail) = rest.split_at_checked(padded).ok_or_else(truncated)?;
                members.payload(payload.get(..len).unwrap_or_default())?;
                rest = tail;
            }
            Step::Member(_) if !rest.is_empty() => {
                return Err(Error::Mismatch("length of the header"));
            }
            Step::Member(member) => return compare(&member, entry),
        }
    }
}

fn compare(header: &Header, entry: &Entry<'_>) -> Result<(), Error> {
    // A time that zTOCs cannot write is absent there.
    let mtime = Some(header.mtime).filter(|_| header.mtime.is_writable());
    let sizes = [u64::try_from(header.size).ok(), Some(header.data_len())];
    let checks = [
        ("name", header.name == entry.name()),
        ("link name", header.linkname == entry.linkname()),
        ("type", header.kind == entry.kind()),
        ("mode", header.permissions() == entry.mode()),
        ("owner", header.uid == entry.uid()),
        ("group", header.gid == entry.gid()),
        ("modification time", mtime == entry.mtime()),
        ("device number", header.device == entry.device()),
        ("size", sizes.contains(&Some(entry.size()))),
        ("extended attributes", header.xattrs().eq(entry.xattrs())),
    ];
    match checks.into_iter().find(|(_, equal)| !equal) {
        Some((field, _)) => Err(Error::Mismatch(field)),
        None => Ok(()),
    }
}
