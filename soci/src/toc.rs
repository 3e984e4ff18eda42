//! The members of a layer's tar: one byte arena and one fixed-size record each.

use std::fmt;

use crate::error::{EntryFault, Error};
use crate::limits::Limits;

pub use crate::mtime::Mtime;

/// Size of a tar block; headers and data start at multiples of it.
pub(crate) const BLOCK: u64 = 512;
/// PAX records whose keys start so are extended attributes.
pub(crate) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
/// Longest name the kernel looks up.
const MAX_COMPONENT: usize = 255;
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
    header: u64,
    seconds: i64,
    nanos: u32,
    uid: u32,
    gid: u32,
    major: u32,
    minor: u32,
    /// Where name, link name and attributes lie in the arena, one after the other.
    start: u32,
    xattrs_len: u32,
    name_len: u16,
    linkname_len: u16,
    mode: u16,
    kind: Kind,
}

/// All members in tar order. Offsets increase, every member has room for its header, and the data of
/// regular files lie within the archive.
pub struct Toc {
    arena: Vec<u8>,
    records: Vec<Record>,
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

    pub fn entry(&self, id: EntryId) -> Option<Entry<'_>> {
        let record = self.records.get(usize::try_from(id.0).ok()?)?;
        Some(Entry {
            arena: &self.arena,
            record,
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (EntryId, Entry<'_>)> {
        let entry = |record| Entry {
            arena: &self.arena,
            record,
        };
        (0..).map(EntryId).zip(self.records.iter().map(entry))
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
    arena: &'a [u8],
    record: &'a Record,
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
        self.record.kind
    }

    /// Permission, set-id and sticky bits.
    pub fn mode(&self) -> u32 {
        u32::from(self.record.mode)
    }

    pub fn uid(&self) -> u32 {
        self.record.uid
    }

    pub fn gid(&self) -> u32 {
        self.record.gid
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
        (self.record.major, self.record.minor)
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
        self.record.header
    }

    /// Extended attributes (PAX records `SCHILY.xattr.`, prefix removed), names ascending and unique.
    pub fn xattrs(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let start = usize::from(self.record.name_len) + usize::from(self.record.linkname_len);
        let len = usize::try_from(self.record.xattrs_len).unwrap_or(0);
        let mut rest = self.bytes(start, len);
        std::iter::from_fn(move || {
            let (name, tail) = take_prefixed(rest)?;
            let (value, tail) = take_prefixed(tail)?;
            rest = tail;
            Some((name, value))
        })
    }

    fn bytes(&self, start: usize, len: usize) -> &'a [u8] {
        // The builder wrote these bytes; the range cannot be outside.
        usize::try_from(self.record.start)
            .ok()
            .and_then(|base| self.arena.get(base.checked_add(start)?..)?.get(..len))
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

/// Collects members in any order into a [`Toc`].
pub struct TocBuilder {
    limits: Limits,
    arena: Vec<u8>,
    records: Vec<Record>,
}

impl TocBuilder {
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            arena: Vec::new(),
            records: Vec::new(),
        }
    }

    pub(crate) fn with_capacity(entries: usize, limits: &Limits) -> Result<Self, Error> {
        within("zTOC entries", entries as u64, u64::from(limits.entries))?;
        let mut builder = Self::new(limits);
        builder.records.reserve_exact(entries);
        Ok(builder)
    }

    /// Bytes of names and attributes so far.
    pub(crate) fn arena_len(&self) -> usize {
        self.arena.len()
    }

    pub fn push(&mut self, member: &Member<'_>) -> Result<(), Error> {
        let fault = |fault| Error::Entry {
            offset: member.offset,
            fault,
        };
        let count = self.records.len() as u64 + 1;
        within("zTOC entries", count, u64::from(self.limits.entries))?;
        let name_len = self.path_len("length of a name", member.name)?;
        let linkname_len = self.path_len("length of a link name", member.linkname)?;
        if member.name.contains(&0) || member.linkname.contains(&0) {
            return Err(fault(EntryFault::Nul));
        }
        let mut components = member.name.split(|b| *b == b'/');
        if components.any(|component| component.len() > MAX_COMPONENT) {
            return Err(fault(EntryFault::LongComponent));
        }

        let start = u32::try_from(self.arena.len()).map_err(|_| Error::Limit {
            what: "bytes of names and attributes",
            value: self.arena.len() as u64,
            limit: u64::from(u32::MAX),
        })?;
        let xattrs = self.checked_xattrs(member)?;
        let arena = (self.arena.len() + member.name.len() + member.linkname.len()) as u64;
        within("bytes of names and attributes", arena, self.limits.blob)?;
        self.arena.extend_from_slice(member.name);
        self.arena.extend_from_slice(member.linkname);
        let before = self.arena.len();
        for (name, value) in xattrs {
            push_prefixed(&mut self.arena, name);
            push_prefixed(&mut self.arena, value);
        }
        // Bounded by `limits.xattrs` twice over.
        let xattrs_len = u32::try_from(self.arena.len() - before).unwrap_or(u32::MAX);

        let mtime = member.mtime.unwrap_or(Mtime {
            seconds: 0,
            nanos: NO_MTIME,
        });
        self.records.push(Record {
            offset: member.offset,
            size: member.size,
            header: 0,
            seconds: mtime.seconds,
            nanos: mtime.nanos,
            uid: member.uid,
            gid: member.gid,
            major: member.device.0,
            minor: member.device.1,
            start,
            xattrs_len,
            name_len,
            linkname_len,
            mode: u16::try_from(member.mode & 0o7777).unwrap_or(0),
            kind: member.kind,
        });
        Ok(())
    }

    /// Puts the members in tar order and finds where their headers start: at 0, then at the first block
    /// after the data of the member before.
    pub fn finish(mut self, archive_size: u64) -> Result<Toc, Error> {
        if !self.records.is_sorted_by_key(|record| record.offset) {
            self.records.sort_by_key(|record| record.offset);
        }
        let mut header = 0;
        for record in &mut self.records {
            let fault = |fault| Error::Entry {
                offset: record.offset,
                fault,
            };
            if record.offset % BLOCK != 0 {
                return Err(fault(EntryFault::Unaligned));
            }
            // One block at least; this also refuses members that share an offset or overlap.
            if record
                .offset
                .checked_sub(header)
                .is_none_or(|len| len < BLOCK)
            {
                return Err(fault(EntryFault::NoHeader(header)));
            }
            let beyond = fault(EntryFault::BeyondArchive);
            let Some(end) = record.offset.checked_add(record.size) else {
                return Err(beyond);
            };
            let stored_end = if record.kind == Kind::Reg {
                end
            } else {
                record.offset
            };
            if stored_end > archive_size {
                return Err(beyond);
            }
            record.header = header;
            // The size counts for every kind here, since other readers count it: a link with a size
            // makes the table unusable for all of us alike.
            header = end.checked_next_multiple_of(BLOCK).unwrap_or(u64::MAX);
        }
        self.arena.shrink_to_fit();
        self.records.shrink_to_fit();
        Ok(Toc {
            arena: self.arena,
            records: self.records,
            archive_size,
        })
    }

    fn path_len(&self, what: &'static str, path: &[u8]) -> Result<u16, Error> {
        let limit = self.limits.name.min(usize::from(u16::MAX));
        within(what, path.len() as u64, limit as u64)?;
        Ok(u16::try_from(path.len()).unwrap_or(u16::MAX))
    }

    fn checked_xattrs<'a>(&self, member: &Member<'a>) -> Result<Xattrs<'a>, Error> {
        let total = member
            .xattrs
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let total = total.fold(0, usize::saturating_add);
        within(
            "bytes of extended attributes",
            total as u64,
            self.limits.xattrs as u64,
        )?;
        let fault = |fault| Error::Entry {
            offset: member.offset,
            fault,
        };
        for (name, _) in member.xattrs {
            if name.is_empty() {
                return Err(fault(EntryFault::UnnamedAttribute));
            }
            if name.contains(&0) {
                return Err(fault(EntryFault::Nul));
            }
        }
        Ok(last_of_each(member.xattrs))
    }
}

type Xattrs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// Sorted by name, of equal names the last.
fn last_of_each<'a>(xattrs: &[(&'a [u8], &'a [u8])]) -> Xattrs<'a> {
    let mut sorted: Xattrs<'a> = xattrs.iter().rev().copied().collect();
    sorted.sort_by_key(|(name, _)| *name);
    sorted.dedup_by_key(|(name, _)| *name);
    sorted
}

/// The parts are bounded by the limit on attributes, so their lengths fit.
fn push_prefixed(arena: &mut Vec<u8>, bytes: &[u8]) {
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    arena.extend_from_slice(&len.to_le_bytes());
    arena.extend_from_slice(bytes);
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit {
        return Err(Error::Limit { what, value, limit });
    }
    Ok(())
}
