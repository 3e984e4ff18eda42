//! What holds for the members of every table of contents.

use super::{BLOCK, Kind, Member};
use crate::error::{EntryFault, Error};
use crate::limits::Limits;

/// Longest name the kernel looks up.
const MAX_COMPONENT: usize = 255;

/// Checks a member by itself: its names and its attributes.
pub(crate) fn check(member: &Member<'_>, limits: &Limits) -> Result<(), Error> {
    let fault = |fault| Error::Entry {
        offset: member.offset,
        fault,
    };
    let longest = limits.name.min(usize::from(u16::MAX)) as u64;
    within("length of a name", member.name.len() as u64, longest)?;
    within(
        "length of a link name",
        member.linkname.len() as u64,
        longest,
    )?;
    if member.name.contains(&0) || member.linkname.contains(&0) {
        return Err(fault(EntryFault::Nul));
    }
    let mut components = member.name.split(|b| *b == b'/');
    if components.any(|component| component.len() > MAX_COMPONENT) {
        return Err(fault(EntryFault::LongComponent));
    }
    let total = member
        .xattrs
        .iter()
        .map(|(name, value)| name.len() + value.len());
    let total = total.fold(0, usize::saturating_add);
    within(
        "bytes of extended attributes",
        total as u64,
        limits.xattrs as u64,
    )?;
    for (name, _) in member.xattrs {
        if name.is_empty() {
            return Err(fault(EntryFault::UnnamedAttribute));
        }
        if name.contains(&0) {
            return Err(fault(EntryFault::Nul));
        }
    }
    Ok(())
}

pub(crate) fn check_count(count: u64, limits: &Limits) -> Result<(), Error> {
    within("zTOC entries", count, u64::from(limits.entries))
}

pub(crate) fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Error> {
    if value > limit {
        return Err(Error::Limit { what, value, limit });
    }
    Ok(())
}

/// Checks where members lie, in the order of the tar.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Where the header of the next one starts: at 0, then at the first block after the data before.
    next: u64,
    /// Where the data of those so far end.
    end: u64,
}

impl Places {
    pub(crate) fn check(&mut self, kind: Kind, offset: u64, size: u64) -> Result<(), Error> {
        let fault = |fault| Error::Entry { offset, fault };
        if !offset.is_multiple_of(BLOCK) {
            return Err(fault(EntryFault::Unaligned));
        }
        // One block at least; this also refuses members that share an offset or overlap.
        if offset.checked_sub(self.next).is_none_or(|len| len < BLOCK) {
            return Err(fault(EntryFault::NoHeader(self.next)));
        }
        let end = offset.checked_add(size);
        let end = end.ok_or(fault(EntryFault::BeyondArchive))?;
        self.end = if kind == Kind::Reg { end } else { offset };
        self.next = super::next_header(offset, size);
        Ok(())
    }

    /// Where the data of the member checked last end.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }
}
