//! Checks members and packs them into a table of contents.

use std::collections::HashMap;

use super::{BLOCK, Class, Kind, Member, Mtime, NO_MTIME, Record, Toc};
use crate::error::{EntryFault, Error};
use crate::limits::Limits;

/// Longest name the kernel looks up.
const MAX_COMPONENT: usize = 255;

/// Collects members in any order into a [`Toc`].
pub struct TocBuilder {
    limits: Limits,
    arena: Vec<u8>,
    records: Vec<Record>,
    classes: Vec<Class>,
    known: HashMap<Class, u32>,
}

impl TocBuilder {
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: limits.clone(),
            arena: Vec::new(),
            records: Vec::new(),
            classes: Vec::new(),
            known: HashMap::new(),
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
        let class = self.class(Class {
            uid: member.uid,
            gid: member.gid,
            major: member.device.0,
            minor: member.device.1,
            mode: u16::try_from(member.mode & 0o7777).unwrap_or(0),
            kind: member.kind,
            has_xattrs: !xattrs.is_empty(),
        });
        if !xattrs.is_empty() {
            let len = |(name, value): &(&[u8], &[u8])| 2 * PREFIX + name.len() + value.len();
            push_len(&mut self.arena, xattrs.iter().map(len).sum());
        }
        for (name, value) in xattrs {
            for bytes in [name, value] {
                push_len(&mut self.arena, bytes.len());
                self.arena.extend_from_slice(bytes);
            }
        }

        let mtime = member.mtime.unwrap_or(Mtime {
            seconds: 0,
            nanos: NO_MTIME,
        });
        self.records.push(Record {
            offset: member.offset,
            size: member.size,
            seconds: mtime.seconds,
            nanos: mtime.nanos,
            start,
            class,
            name_len,
            linkname_len,
        });
        Ok(())
    }

    /// Its number. Neighbours mostly have the same.
    fn class(&mut self, class: Class) -> u32 {
        let last = self.records.last().map(|record| record.class);
        let last = last.filter(|&last| {
            let place = usize::try_from(last).ok();
            place.and_then(|place| self.classes.get(place)) == Some(&class)
        });
        if let Some(last) = last {
            return last;
        }
        *self.known.entry(class).or_insert_with(|| {
            // At most one for each record.
            let number = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
            self.classes.push(class);
            number
        })
    }

    /// Puts the members in tar order and finds where their headers start: at 0, then at the first block
    /// after the data of the member before.
    pub fn finish(mut self, archive_size: u64) -> Result<Toc, Error> {
        if !self.records.is_sorted_by_key(|record| record.offset) {
            self.records.sort_by_key(|record| record.offset);
        }
        let mut header = 0;
        for record in &self.records {
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
            let class = usize::try_from(record.class)
                .ok()
                .and_then(|class| self.classes.get(class));
            let stored_end = if class.is_some_and(|class| class.kind == Kind::Reg) {
                end
            } else {
                record.offset
            };
            if stored_end > archive_size {
                return Err(beyond);
            }
            header = record.next_header();
        }
        self.arena.shrink_to_fit();
        self.records.shrink_to_fit();
        Ok(Toc {
            arena: self.arena,
            records: self.records,
            classes: self.classes,
            archive_size,
        })
    }

    fn path_len(&self, what: &'static str, path: &[u8]) -> Result<u16, Error> {
        let limit = self.limits.name.min(usize::from(u16::MAX));
        within(what, path.len() as u64, limit as u64)?;
        Ok(u16::try_from(path.len()).unwrap_or(u16::MAX))
    }

    fn checked_xattrs<'a>(&self, member: &Member<'a>) -> Result<Xattrs<'a>, Error> {
        if member.xattrs.is_empty() {
            return Ok(Vec::new());
        }
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

/// Of a name, a value, or all of an entry's attributes.
const PREFIX: usize = 4;

/// Attributes are bounded by the limit on them, so their lengths fit.
fn push_len(arena: &mut Vec<u8>, len: usize) {
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    arena.extend_from_slice(&len.to_le_bytes());
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit {
        return Err(Error::Limit { what, value, limit });
    }
    Ok(())
}
