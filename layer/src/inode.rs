//! Inode numbers: a pure function of the zTOC, so that a new process continues with the old one's numbers.

use soci::toc::EntryId;
use std::fmt;

/// 1 is the root, entry `i` is `i + 2`, directories that no entry names come after all entries in order of first need.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Inode(pub u64);

impl Inode {
    pub const ROOT: Inode = Inode(1);

    pub(crate) fn of_node(node: u32) -> Inode {
        Inode(u64::from(node) + 1)
    }

    /// Position in the tree's arrays; the tree has at most `u32::MAX` of them.
    pub(crate) fn node(self) -> Option<u32> {
        self.0
            .checked_sub(1)
            .and_then(|node| u32::try_from(node).ok())
    }

    /// The entry whose bytes this inode has. Meaningful for regular files only.
    pub(crate) fn entry(self) -> Option<EntryId> {
        self.0
            .checked_sub(2)
            .and_then(|entry| u32::try_from(entry).ok())
            .map(EntryId)
    }
}

impl fmt::Display for Inode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
