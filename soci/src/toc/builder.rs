//! Checks members and packs them into a table of contents.

use std::collections::HashMap;

use super::rules::{self, Places, within};
use super::{Class, Member, Mtime, NO_MTIME, Record, Toc};
use crate::error::{EntryFault, Error};
use crate::limits::Limits;

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
        rules::check_count(entries as u64, limits)?;
        let mut builder = Self::new(limits);
        builder.records.reserve_exact(entries);
        Ok(builder)
    }

    /// Bytes of names and attributes so far.
    pub(crate) fn arena_len(&self) -> usize {
        self.arena.len()
    }

    pub fn push(&mut self, member: &Member<'_>) -> Result<(), Error> {
        rules::check_count(self.records.len() as u64 + 1, &self.limits)?;
        rules::check(member, &self.limits)?;
        // The rules leave both in 16 bits.
        let [name_len, linkname_len] = [member.name, member.linkname]
            .map(|name| u16::try_from(name.len()).unwrap_or(u16::MAX));

        let start = u32::try_from(self.arena.len()).map_err(|_| Error::Limit {
            what: "bytes of names and attributes",
            value: self.arena.len() as u64,
            limit: u64::from(u32::MAX),
        })?;
        let xattrs = last_of_each(member.xattrs);
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

    /// Puts the members in tar order and checks where they lie.
    pub fn finish(mut self, archive_size: u64) -> Result<Toc, Error> {
        if !self.records.is_sorted_by_key(|record| record.offset) {
            self.records.sort_by_key(|record| record.offset);
        }
        let mut places = Places::default();
        for record in &self.records {
            let class = usize::try_from(record.class).ok();
            let class = class.and_then(|class| self.classes.get(class));
            let kind = class.map(|class| class.kind).unwrap_or_default();
            places.check(kind, record.offset, record.size)?;
            if places.end() > archive_size {
                let (offset, fault) = (record.offset, EntryFault::BeyondArchive);
                return Err(Error::Entry { offset, fault });
            }
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
