//! The members of a layer as its zTOC lists them, packed until the zTOC can be written.

use super::budget::Budget;
use super::error::BuildError;
use crate::mtime::Mtime;
use crate::tar::Header;
use crate::toc::{Kind, XATTR_PREFIX};

/// Whiteout that hides what a directory of a lower layer holds.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What an entry takes in a zTOC at most, besides four strings and its PAX records: a table of 14 fields, type
/// and time, lengths and padding, an element.
const STORED_ENTRY: u64 = 192;
/// What a PAX record takes besides its strings: a table, lengths and padding, an element.
const STORED_RECORD: u64 = 32;

/// One byte arena and one record of fixed size per member, in tar order.
#[derive(Default)]
pub(super) struct Files {
    /// For each file its name, link name, user and group, then its PAX records, each as the length of the
    /// key, the length of the value, and both.
    arena: Vec<u8>,
    files: Vec<Packed>,
    has_xattrs: bool,
    has_opaque: bool,
}

struct Packed {
    start: usize,
    name: usize,
    linkname: usize,
    uname: usize,
    gname: usize,
    records: usize,
    offset: u64,
    size: u64,
    mode: i64,
    mtime: Mtime,
    uid: u32,
    gid: u32,
    device: (u32, u32),
    kind: Kind,
}

/// A member, with the values its zTOC entry has.
pub(super) struct File<'a> {
    pub(super) name: &'a [u8],
    pub(super) linkname: &'a [u8],
    pub(super) uname: &'a [u8],
    pub(super) gname: &'a [u8],
    pub(super) kind: Kind,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) mode: i64,
    pub(super) mtime: Mtime,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) device: (u32, u32),
    records: &'a [u8],
}

impl Files {
    /// Lists a member whose data start at `offset`.
    pub(super) fn push(
        &mut self,
        header: &Header,
        offset: u64,
        budget: &mut Budget,
    ) -> Result<(), BuildError> {
        if !header.mtime.is_writable() {
            let name = header.name.escape_ascii();
            return Err(BuildError::unsupported(format!(
                "{name} was modified outside the years 0 to 9999, which no index can say"
            )));
        }
        let start = self.arena.len();
        for text in [&header.name, &header.linkname, &header.uname, &header.gname] {
            self.arena.extend_from_slice(text);
        }
        let records = self.arena.len();
        for (key, value) in &header.records {
            if let Some(attribute) = key.strip_prefix(XATTR_PREFIX) {
                self.has_xattrs = true;
                if value.is_empty() {
                    return Err(empty_attribute(&header.name, attribute));
                }
            }
            self.push_record(key, value);
        }
        self.has_opaque |= header.name.ends_with(OPAQUE);
        let strings = (self.arena.len() - start) as u64;
        budget.take(STORED_ENTRY + STORED_RECORD * header.records.len() as u64 + strings)?;
        self.files.push(Packed {
            start,
            name: header.name.len(),
            linkname: header.linkname.len(),
            uname: header.uname.len(),
            gname: header.gname.len(),
            records: self.arena.len() - records,
            offset,
            size: header.data_len(),
            mode: header.mode,
            mtime: header.mtime,
            uid: header.uid,
            gid: header.gid,
            device: header.device,
            kind: header.kind,
        });
        Ok(())
    }

    pub(super) fn len(&self) -> u32 {
        // The budget is far below 2^32 entries.
        u32::try_from(self.files.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn has_xattrs(&self) -> bool {
        self.has_xattrs
    }

    pub(super) fn has_opaque(&self) -> bool {
        self.has_opaque
    }

    /// In tar order.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = File<'_>> {
        self.files.iter().map(|packed| self.unpack(packed))
    }

    fn push_record(&mut self, key: &[u8], value: &[u8]) {
        for text in [key, value] {
            // An extended header is at most 1 MiB long.
            let len = u32::try_from(text.len()).unwrap_or(u32::MAX);
            self.arena.extend_from_slice(&len.to_le_bytes());
            self.arena.extend_from_slice(text);
        }
    }

    fn unpack<'a>(&'a self, packed: &Packed) -> File<'a> {
        let mut rest = self.arena.get(packed.start..).unwrap_or_default();
        let mut take = |len| {
            let (text, tail) = rest.split_at_checked(len).unwrap_or_default();
            rest = tail;
            text
        };
        File {
            name: take(packed.name),
            linkname: take(packed.linkname),
            uname: take(packed.uname),
            gname: take(packed.gname),
            records: take(packed.records),
            kind: packed.kind,
            offset: packed.offset,
            size: packed.size,
            mode: packed.mode,
            mtime: packed.mtime,
            uid: packed.uid,
            gid: packed.gid,
            device: packed.device,
        }
    }
}

impl<'a> File<'a> {
    /// PAX records, keys ascending.
    pub(super) fn records(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.records;
        std::iter::from_fn(move || {
            let (key, tail) = take_prefixed(rest)?;
            let (value, tail) = take_prefixed(tail)?;
            rest = tail;
            Some((key, value))
        })
    }
}

fn take_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}

fn empty_attribute(name: &[u8], attribute: &[u8]) -> BuildError {
    BuildError::unsupported(format!(
        "{} has an empty extended attribute {}, which some readers lose",
        name.escape_ascii(),
        attribute.escape_ascii()
    ))
}
