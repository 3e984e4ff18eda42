//! What the kernel can ask about a tree. Never waits, allocates nothing per question.

use super::build::build;
use super::error::TreeError;
use super::index::{Index, Link, Node, Shape};
use super::xattrs;
use crate::inode::Inode;
use soci::toc::{Entry, EntryId, Kind, Mtime, Toc};
use std::iter;

const OPAQUE: &[u8] = b"trusted.overlay.opaque";
const USER_OPAQUE: &[u8] = b"user.overlay.opaque";
const DIRECTORY_SIZE: u64 = 4096;
/// Later times do not fit the nanoseconds of an unpacker, which then uses the epoch, as it does for earlier ones.
const LAST_SECOND: i64 = i64::MAX / 1_000_000_000;
const EPOCH: Mtime = Mtime {
    seconds: 0,
    nanos: 0,
};

#[derive(Clone, Debug, Default)]
pub struct TreeOptions {
    /// The overlay is mounted with `userxattr`: opaque directories say so in `user.overlay.opaque`.
    pub userxattr: bool,
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

/// The children of one directory sorted by name; a position among them never changes its meaning.
#[derive(Copy, Clone)]
pub struct Children<'a> {
    tree: &'a Tree,
    links: &'a [Link],
}

impl<'a> Children<'a> {
    pub fn len(&self) -> usize {
        self.links.len()
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    pub fn get(&self, index: usize) -> Option<Child<'a>> {
        self.links.get(index).map(|link| self.child(link))
    }

    pub fn iter(self) -> impl Iterator<Item = Child<'a>> {
        self.links.iter().map(move |link| self.child(link))
    }

    fn child(&self, link: &Link) -> Child<'a> {
        let kind = self
            .tree
            .index
            .node(link.node)
            .map(|node| self.tree.kind(link.node, node));
        Child {
            name: link.name.of(&self.tree.toc),
            inode: Inode::of_node(link.node),
            kind: kind.unwrap_or(Kind::Reg),
        }
    }
}

#[derive(Debug)]
pub struct Tree {
    toc: Toc,
    index: Index,
    options: TreeOptions,
}

impl Tree {
    /// Keeps the table of contents: names and attributes are read from it in place.
    pub fn build(toc: Toc, options: &TreeOptions) -> Result<Tree, TreeError> {
        let index = build(&toc)?;
        Ok(Tree {
            toc,
            index,
            options: options.clone(),
        })
    }

    /// Every inode is at most this.
    pub fn inodes(&self) -> u64 {
        u64::try_from(self.index.nodes.len()).unwrap_or(u64::MAX)
    }

    pub fn toc(&self) -> &Toc {
        &self.toc
    }

    /// Whether any inode has extended attributes. May look at all of them: ask once.
    pub fn has_xattrs(&self) -> bool {
        let opaque = |node: &Node| node.shape == Shape::OpaqueDir;
        (self.toc.has_xattrs() || self.index.nodes.iter().any(opaque))
            && (1..=self.inodes()).any(|inode| self.xattrs(Inode(inode)).next().is_some())
    }

    pub fn lookup(&self, parent: Inode, name: &[u8]) -> Option<Inode> {
        let links = self.index.links_of(parent.node()?)?;
        let found = links
            .binary_search_by(|link| link.name.of(&self.toc).cmp(name))
            .ok()?;
        links.get(found).map(|link| Inode::of_node(link.node))
    }

    pub fn attr(&self, inode: Inode) -> Option<Attr> {
        let (number, node) = self.node(inode)?;
        let kind = self.kind(number, node);
        let meta = node.meta().and_then(|id| self.toc.entry(id));
        let whiteout = node.shape == Shape::Whiteout;
        let own = || self.own(number);
        let size = match kind {
            Kind::Reg => own().map_or(0, |entry| entry.size()),
            Kind::Symlink => own().map_or(0, |entry| length(entry.linkname())),
            Kind::Dir => DIRECTORY_SIZE,
            _ => 0,
        };
        let blocks = if kind == Kind::Symlink {
            0
        } else {
            size.div_ceil(512)
        };
        let rdev = match kind {
            Kind::Char | Kind::Block if !whiteout => own().map_or((0, 0), |entry| entry.device()),
            _ => (0, 0),
        };
        let mode = match kind {
            Kind::Symlink => 0o777,
            _ if whiteout => 0,
            _ => meta.map_or(0o755, |entry| entry.mode() & 0o7777),
        };
        Some(Attr {
            kind,
            mode,
            uid: meta.map_or(0, |entry| entry.uid()),
            gid: meta.map_or(0, |entry| entry.gid()),
            size,
            mtime: meta.map_or(EPOCH, mtime),
            nlink: node.nlink,
            rdev,
            blocks,
        })
    }

    /// The directory that holds this directory; the root holds itself.
    pub fn parent(&self, directory: Inode) -> Option<Inode> {
        let (_, node) = self.node(directory)?;
        node.shape.is_dir().then(|| Inode::of_node(node.parent))
    }

    pub fn readlink(&self, inode: Inode) -> Option<&[u8]> {
        let (number, node) = self.node(inode)?;
        let link = self.kind(number, node) == Kind::Symlink;
        self.own(number)
            .filter(|_| link)
            .map(|entry| entry.linkname())
    }

    pub fn xattr(&self, inode: Inode, name: &[u8]) -> Option<&[u8]> {
        self.xattrs(inode)
            .find(|&(found, _)| found == name)
            .map(|(_, value)| value)
    }

    /// Each name once.
    pub fn xattrs(&self, inode: Inode) -> impl Iterator<Item = (&[u8], &[u8])> {
        let opaque = if self.options.userxattr {
            USER_OPAQUE
        } else {
            OPAQUE
        };
        let known = self.node(inode);
        let synthesized = known
            .filter(|(_, node)| node.shape == Shape::OpaqueDir)
            .map(|_| (opaque, b"y".as_slice()));
        let stored = known.filter(|(_, node)| node.shape != Shape::Whiteout);
        stored
            .into_iter()
            .flat_map(move |(number, node)| self.stored_xattrs(number, node))
            .chain(synthesized)
    }

    /// None when it is not a directory.
    pub fn children(&self, directory: Inode) -> Option<Children<'_>> {
        let (number, _) = self.node(directory)?;
        let links = self.index.links_of(number)?;
        Some(Children { tree: self, links })
    }

    /// The entry that has a regular file's bytes.
    pub fn data(&self, inode: Inode) -> Option<(EntryId, Entry<'_>)> {
        let (number, node) = self.node(inode)?;
        let id = inode.entry()?;
        let regular = self.kind(number, node) == Kind::Reg;
        self.own(number)
            .filter(|_| regular)
            .map(|entry| (id, entry))
    }

    /// Known to some name; an unknown inode is nobody's.
    fn node(&self, inode: Inode) -> Option<(u32, &Node)> {
        let number = inode.node()?;
        let node = self.index.node(number)?;
        (node.nlink > 0).then_some((number, node))
    }

    fn own(&self, number: u32) -> Option<Entry<'_>> {
        self.toc.entry(EntryId(number.checked_sub(1)?))
    }

    fn kind(&self, number: u32, node: &Node) -> Kind {
        match node.shape {
            Shape::Dir | Shape::OpaqueDir => Kind::Dir,
            Shape::Whiteout => Kind::Char,
            Shape::Other | Shape::Unused => self.own(number).map_or(Kind::Reg, |own| own.kind()),
        }
    }

    fn stored_xattrs(&self, number: u32, node: &Node) -> impl Iterator<Item = (&[u8], &[u8])> {
        let kind = self.kind(number, node);
        let userxattr = self.options.userxattr;
        let earlier = self.index.earlier_of(number);
        let sources = iter::once(node.meta).chain(earlier.iter().map(|&(_, entry)| entry));
        sources.enumerate().flat_map(move |(age, entry)| {
            let entry = self.toc.entry(EntryId(entry));
            entry
                .into_iter()
                .flat_map(|entry| entry.xattrs())
                .filter(move |&(name, value)| {
                    xattrs::is_shown(name, value, kind, userxattr)
                        && (age == 0
                            || xattrs::survives(name, kind)
                                && !self.is_set_later(node, earlier, age, name))
                })
        })
    }

    fn is_set_later(&self, node: &Node, earlier: &[(u32, u32)], age: usize, name: &[u8]) -> bool {
        iter::once(node.meta)
            .chain(earlier.iter().map(|&(_, entry)| entry))
            .take(age)
            .filter_map(|entry| self.toc.entry(EntryId(entry)))
            .any(|entry| entry.xattrs().any(|(other, _)| other == name))
    }
}

fn mtime(entry: Entry<'_>) -> Mtime {
    entry
        .mtime()
        .filter(|time| (0..=LAST_SECOND).contains(&time.seconds))
        .unwrap_or(EPOCH)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
