//! Names, attributes and inode numbers of one layer, as unpacking it would show them.

use crate::inode::Inode;
use soci::toc::{EntryId, Kind, Mtime, Toc};

#[derive(Clone, Debug, Default)]
pub struct TreeOptions {
    /// The overlay is mounted with `userxattr`: opaque directories say so in `user.overlay.opaque`.
    pub userxattr: bool,
    /// The index says that no entry of this layer has extended attributes.
    pub disable_xattrs: bool,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Attr {
    pub kind: Kind,
    /// The lower twelve bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: Mtime,
    pub nlink: u32,
    pub rdev: (u32, u32),
    /// In units of 512 bytes.
    pub blocks: u64,
}

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Child<'a> {
    pub name: &'a [u8],
    pub inode: Inode,
    pub kind: Kind,
}

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TreeError {
    #[error("stub")]
    Stub,
}

#[derive(Debug)]
pub struct Tree {
    toc: Toc,
}

/// The children of one directory sorted by name; a position in it never changes its meaning.
#[derive(Copy, Clone)]
pub struct Children<'a> {
    tree: &'a Tree,
}

impl<'a> Children<'a> {
    pub fn len(&self) -> usize {
        0
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    pub fn get(&self, index: usize) -> Option<Child<'a>> {
        let _ = (self.tree, index);
        None
    }
    pub fn iter(self) -> impl Iterator<Item = Child<'a>> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

impl Tree {
    /// Keeps the table of contents: names and attributes are read from it in place.
    pub fn build(toc: Toc, options: &TreeOptions) -> Result<Tree, TreeError> {
        let _ = (toc, options);
        Err(TreeError::Stub)
    }
    /// Inodes are 1..=count.
    pub fn inodes(&self) -> u64 {
        0
    }
    pub fn lookup(&self, parent: Inode, name: &[u8]) -> Option<Inode> {
        let _ = (parent, name);
        None
    }
    pub fn attr(&self, inode: Inode) -> Option<Attr> {
        let _ = inode;
        None
    }
    /// The directory that holds this directory; the root holds itself.
    pub fn parent(&self, directory: Inode) -> Option<Inode> {
        let _ = directory;
        None
    }
    pub fn readlink(&self, inode: Inode) -> Option<&[u8]> {
        let _ = inode;
        None
    }
    pub fn xattr(&self, inode: Inode, name: &[u8]) -> Option<&[u8]> {
        let _ = (inode, name);
        None
    }
    pub fn xattrs(&self, inode: Inode) -> impl Iterator<Item = (&[u8], &[u8])> {
        let _ = inode;
        std::iter::empty()
    }
    /// None when it is not a directory.
    pub fn children(&self, directory: Inode) -> Option<Children<'_>> {
        let _ = directory;
        None
    }
    /// The entry that has a regular file's bytes.
    pub fn data(&self, inode: Inode) -> Option<EntryId> {
        let _ = inode;
        None
    }
    pub fn toc(&self) -> &Toc {
        &self.toc
    }
}
