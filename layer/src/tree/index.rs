//! The shape of a tree as flat arrays: no object per file, names stay in the table of contents.

use super::path::Part;
use soci::toc::{EntryId, Toc};

/// No entry, no node.
pub(super) const NONE: u32 = u32::MAX;

#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) enum Shape {
    /// Its entry was not shown under any name, or was a marker.
    Unused,
    Dir,
    OpaqueDir,
    Whiteout,
    /// What its own entry says.
    Other,
}

impl Shape {
    pub(super) fn is_dir(self) -> bool {
        matches!(self, Shape::Dir | Shape::OpaqueDir)
    }
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Node {
    /// The entry that has the attributes: the last of a directory's entries, the last hard link of a file.
    pub(super) meta: u32,
    pub(super) nlink: u32,
    /// Of a directory.
    pub(super) parent: u32,
    /// Of a directory: where its children begin; they end where the next node's begin.
    pub(super) children: u32,
    pub(super) shape: Shape,
}

impl Node {
    pub(super) const UNUSED: Node = Node {
        meta: NONE,
        nlink: 0,
        parent: NONE,
        children: 0,
        shape: Shape::Unused,
    };

    pub(super) fn meta(&self) -> Option<EntryId> {
        (self.meta != NONE).then_some(EntryId(self.meta))
    }
}

/// A component of the name of some entry.
#[derive(Copy, Clone, Debug)]
pub(super) struct Name {
    pub(super) entry: u32,
    pub(super) part: Part,
}

impl Name {
    pub(super) fn of<'a>(&self, toc: &'a Toc) -> &'a [u8] {
        toc.entry(EntryId(self.entry))
            .map(|entry| self.part.of(entry.name()))
            .unwrap_or_default()
    }
}

#[derive(Copy, Clone, Debug)]
pub(super) struct Link {
    pub(super) node: u32,
    pub(super) name: Name,
}

impl Link {
    pub(super) const NONE: Link = Link {
        node: NONE,
        name: Name {
            entry: NONE,
            part: Part { start: 0, len: 0 },
        },
    };
}

#[derive(Debug)]
pub(super) struct Index {
    /// Node `n` is inode `n + 1`.
    pub(super) nodes: Vec<Node>,
    /// Grouped by directory, sorted by name within it.
    pub(super) links: Vec<Link>,
    /// Earlier entries whose extended attributes a node also has, sorted by node, latest first.
    pub(super) earlier: Vec<(u32, u32)>,
}

impl Index {
    pub(super) fn node(&self, node: u32) -> Option<&Node> {
        self.nodes.get(usize::try_from(node).ok()?)
    }

    /// None when it is not a directory.
    pub(super) fn links_of(&self, node: u32) -> Option<&[Link]> {
        let directory = self.node(node).filter(|node| node.shape.is_dir())?;
        let start = usize::try_from(directory.children).ok()?;
        let end = match node.checked_add(1).and_then(|next| self.node(next)) {
            Some(next) => usize::try_from(next.children).ok()?,
            None => self.links.len(),
        };
        self.links.get(start..end)
    }

    pub(super) fn earlier_of(&self, node: u32) -> &[(u32, u32)] {
        let start = self.earlier.partition_point(|&(other, _)| other < node);
        let rest = self.earlier.get(start..).unwrap_or_default();
        let len = rest.partition_point(|&(other, _)| other == node);
        rest.get(..len).unwrap_or_default()
    }
}
