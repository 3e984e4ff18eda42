//! The members of a layer's tar: one byte arena and one fixed-size record each.

mod builder;
pub(crate) mod rules;

use std::fmt;

pub use crate::mtime::Mtime;
pub use builder::TocBuilder;

/// Size of a tar block; headers and data start at multiples of it.
pub(crate) const BLOCK: u64 = 512;
/// PAX records whose keys start so are extended attributes.
pub(crate) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
/// Stands for an absent [`Mtime`]; real nanoseconds are below a billion.
const NO_MTIME: u32 = u32::MAX;

/// Position of an entry in tar order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u32);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    Hardlink,
    Symlink,
    Dir,
    #[default]
    Reg,
    Char,
    Block,
    Fifo,
}

/// What is known about one tar member, on its way into a [`Toc`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Member<'a> {
    pub name: &'a [u8],
    pub linkname: &'a [u8],
    pub kind: Kind,
    /// Only the permission, set-id and sticky bits are kept.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: Option<Mtime>,
    pub device: (u32, u32),
    pub size: u64,
    /// Where its data starts in the tar, also where there are none.
    pub offset: u64,
    /// Extended attributes; of equal names the last counts.
    pub xattrs: &'a [(&'a [u8], &'a [u8])],
}

struct Record {
    offset: u64,
    size: u64,
    seconds: i64,
    nanos: u32,
    /// Where name, link name and attributes lie in the arena, one after the other.
    start: u32,
    class: u32,
    name_len: u16,
    linkname_len: u16,
}

impl Record {
    fn next_header(&self) -> u64 {
        next_header(self.offset, self.size)
    }
}

/// Where the header of the member after one with these data starts: at the first block behind them. The size
/// counts for every kind here, since other readers count it: a link with a size makes the table unusable for
/// all of us alike.
fn next_header(offset: u64, size: u64) -> u64 {
    let end = offset.saturating_add(size);
    end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX)
}

/// What many members have in common: a layer has a few of these, however many files.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Class {
    uid: u32,
    gid: u32,
    major: u32,
    minor: u32,
    mode: u16,
    kind: Kind,
    has_xattrs: bool,
}

/// All members in tar order. Offsets increase, every member has room for its header, and the data of
/// regular files lie within the archive.
pub struct Toc {
    arena: Vec<u8>,
    records: Vec<Record>,
    classes: Vec<Class>,
    archive_size: u64,
}

impl Toc {
    pub fn len(&self) -> u32 {
        // The builder counts in u32.
        u32::try_from(self.records.len()).unwrap_or(u32::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// End of the tar: just past its second zero block, or all of it where that is missing.
    pub fn archive_size(&self) -> u64 {
        self.archive_size
    }

    /// Whether any entry has extended attributes.
    pub fn has_xattrs(&self) -> bool {
        self.classes.iter().any(|class| class.has_xattrs)
    }

    pub fn entry(&self, id: EntryId) -> Option<Entry<'_>> {
        self.at(usize::try_from(id.0).ok()?)
    }

    pub fn iter(&self) -> impl Iterator<Item = (EntryId, Entry<'_>)> {
        let entries = (0..self.records.len()).filter_map(|place| self.at(place));
        (0..).map(EntryId).zip(entries)
    }

    fn at(&self, place: usize) -> Option<Entry<'_>> {
        let record = self.records.get(place)?;
        let class = self.classes.get(usize::try_from(record.class).ok()?)?;
        Some(Entry {
            toc: self,
            place,
            record,
            class,
        })
    }
}

impl fmt::Debug for Toc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Toc")
            .field("entries", &self.records.len())
            .field("archive_size", &self.archive_size)
            .finish_non_exhaustive()
    }
}

/// A view of one member.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    toc: &'a Toc,
    place: usize,
    record: &'a Record,
    class: &'a Class,
}

impl<'a> Entry<'a> {
    /// As in the tar: not cleaned, not necessarily UTF-8, never with a NUL byte.
    pub fn name(&self) -> &'a [u8] {
        self.bytes(0, usize::from(self.record.name_len))
    }

    /// As in the tar: the target of a symlink, the path of a hardlink's original.
    pub fn linkname(&self) -> &'a [u8] {
        let start = usize::from(self.record.name_len);
        self.bytes(start, usize::from(self.record.linkname_len))
    }

    pub fn kind(&self) -> Kind {
        self.class.kind
    }

    /// Permission, set-id and sticky bits.
    pub fn mode(&self) -> u32 {
        u32::from(self.class.mode)
    }

    pub fn uid(&self) -> u32 {
        self.class.uid
    }

    pub fn gid(&self) -> u32 {
        self.class.gid
    }

    /// `None` where the builder could not write the time, or wrote something else.
    pub fn mtime(&self) -> Option<Mtime> {
        (self.record.nanos != NO_MTIME).then_some(Mtime {
            seconds: self.record.seconds,
            nanos: self.record.nanos,
        })
    }

    /// Major and minor number.
    pub fn device(&self) -> (u32, u32) {
        (self.class.major, self.class.minor)
    }

    pub fn size(&self) -> u64 {
        self.record.size
    }

    /// Where its data starts in the tar.
    pub fn offset(&self) -> u64 {
        self.record.offset
    }

    /// Where its header blocks start; they end at [`Entry::offset`].
    pub fn header_offset(&self) -> u64 {
        let before = self.place.checked_sub(1);
        before
            .and_then(|before| self.toc.records.get(before))
            .map_or(0, Record::next_header)
    }

    /// Extended attributes (PAX records `SCHILY.xattr.`, prefix removed), names ascending and unique.
    pub fn xattrs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest: &[u8] = &[];
        if self.class.has_xattrs {
            let start = usize::from(self.record.name_len) + usize::from(self.record.linkname_len);
            rest = take_prefixed(self.tail(start)).map_or(rest, |(xattrs, _)| xattrs);
        }
        std::iter::from_fn(move || {
            let (name, tail) = take_prefixed(rest)?;
            let (value, tail) = take_prefixed(tail)?;
            rest = tail;
            Some((name, value))
        })
    }

    fn bytes(&self, start: usize, len: usize) -> &'a [u8] {
        self.tail(start).get(..len).unwrap_or_default()
    }

    /// The arena from there on.
    fn tail(&self, start: usize) -> &'a [u8] {
        // The builder wrote these bytes; the range cannot be outside.
        usize::try_from(self.record.start)
            .ok()
            .and_then(|base| self.toc.arena.get(base.checked_add(start)?..))
            .unwrap_or_default()
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("name", &String::from_utf8_lossy(self.name()))
            .field("kind", &self.kind())
            .field("offset", &self.offset())
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

fn take_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)
}
