//! Applies the entries of a layer one after the other, as an unpacker with overlay whiteouts would.

use super::error::{TreeError, printable};
use super::index::{Index, Link, NONE, Name, Node, Shape};
use super::names::{Found, Names};
use super::path::{self, MAX_PATH, Part};
use soci::toc::{Entry, EntryId, Kind, Toc};

const MARKER: &[u8] = b".wh.";
const META_MARKER: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const ROOT: u32 = 0;
/// Entries and directories that no entry names, together.
const MAX_NODES: u32 = 8 << 20;
// The root has no name.
const _: () = assert!(MAX_NODES <= Names::MOST + 1);

pub(super) fn build(toc: &Toc) -> Result<Index, TreeError> {
    let mut builder = Builder::new(toc)?;
    for (id, entry) in toc.iter() {
        builder.apply(id, entry)?;
    }
    Ok(builder.finish())
}

struct Slot {
    parent: u32,
    link: Link,
}

struct Builder<'a> {
    toc: &'a Toc,
    nodes: Vec<Node>,
    /// One per name ever used; a parent's slot comes before those of its children.
    slots: Vec<Slot>,
    names: Names,
    earlier: Vec<(u32, u32)>,
    /// The directory part of the last name, raw, and its node: neighbours in a tar mostly share it.
    last: Option<(&'a [u8], u32)>,
    parts: Vec<Part>,
}

/// Where an entry goes.
enum Place<'a> {
    /// Left alone, as containerd does: the root is whatever the snapshotter made it.
    Root,
    In {
        parent: u32,
        part: Part,
        base: &'a [u8],
    },
    /// Below metadata that another union filesystem left behind.
    Ignored,
}

impl<'a> Builder<'a> {
    fn new(toc: &'a Toc) -> Result<Self, TreeError> {
        let entries = toc.len();
        if entries >= MAX_NODES {
            return Err(TreeError::Many(MAX_NODES));
        }
        let capacity = usize::try_from(entries).unwrap_or(0);
        let mut nodes = vec![Node::UNUSED; capacity + 1];
        if let Some(root) = nodes.first_mut() {
            *root = Node {
                shape: Shape::Dir,
                parent: ROOT,
                ..Node::UNUSED
            };
        }
        Ok(Builder {
            toc,
            nodes,
            slots: Vec::with_capacity(capacity),
            names: Names::with_capacity(capacity),
            earlier: Vec::new(),
            last: None,
            parts: Vec::new(),
        })
    }

    fn apply(&mut self, id: EntryId, entry: Entry<'a>) -> Result<(), TreeError> {
        let raw = entry.name();
        let (parent, part, base) = match self.place(id, raw)? {
            Place::Root | Place::Ignored => return Ok(()),
            Place::In { parent, part, base } => (parent, part, base),
        };
        if base == OPAQUE {
            self.edit(parent, |directory| directory.shape = Shape::OpaqueDir);
            return Ok(());
        }
        if base.starts_with(META_MARKER) {
            return Ok(());
        }
        let node = id.0 + 1;
        if let Some(hidden) = base.strip_prefix(MARKER) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err(TreeError::Whiteout {
                    path: printable(raw),
                });
            }
            let found = self.find(parent, hidden);
            if matches!(found, Found::Slot(_)) {
                return Ok(());
            }
            let shift = MARKER.len();
            let part = Part {
                start: part.start.saturating_add(u16::try_from(shift).unwrap_or(0)),
                len: part.len.saturating_sub(u8::try_from(shift).unwrap_or(0)),
            };
            self.edit(node, |it| (it.shape, it.meta) = (Shape::Whiteout, id.0));
            self.link(parent, found, Name { entry: id.0, part }, node);
            return Ok(());
        }
        let name = Name { entry: id.0, part };
        let found = self.find(parent, base);
        match entry.kind() {
            Kind::Dir => {
                if let Some(directory) = self
                    .node_at(found)
                    .filter(|&node| self.shape(node).is_dir())
                {
                    self.overlay(directory, id);
                    return Ok(());
                }
                self.edit(node, |it| {
                    *it = Node {
                        shape: Shape::Dir,
                        parent,
                        meta: id.0,
                        ..*it
                    };
                });
                self.link(parent, found, name, node);
            }
            Kind::Hardlink => {
                // Removed first: a link to itself, or into what it replaces, has no target.
                self.unlink(found);
                let target = self.target(&entry)?;
                self.overlay(target, id);
                self.link(parent, found, name, target);
            }
            kind => {
                if kind == Kind::Symlink {
                    let target = entry.linkname();
                    if target.is_empty() || target.len() >= MAX_PATH || target.contains(&0) {
                        return Err(TreeError::SymlinkTarget {
                            path: printable(raw),
                        });
                    }
                }
                self.edit(node, |it| (it.shape, it.meta) = (Shape::Other, id.0));
                self.link(parent, found, name, node);
            }
        }
        Ok(())
    }

    /// Makes the parents that are missing.
    fn place(&mut self, id: EntryId, raw: &'a [u8]) -> Result<Place<'a>, TreeError> {
        let split = path::split(raw)?;
        if let (Some((directory, part)), Some((last, parent))) = (split, self.last)
            && directory == last
        {
            return Ok(Place::In {
                parent,
                part,
                base: part.of(raw),
            });
        }
        let mut parts = std::mem::take(&mut self.parts);
        let cleaned = path::clean(raw, &mut parts);
        let place = cleaned.and_then(|()| self.descend(id, raw, &parts));
        self.parts = parts;
        let place = place?;
        self.last = match (split, &place) {
            (Some((directory, _)), Place::In { parent, .. }) => Some((directory, *parent)),
            _ => None,
        };
        Ok(place)
    }

    fn descend(
        &mut self,
        id: EntryId,
        raw: &'a [u8],
        parts: &[Part],
    ) -> Result<Place<'a>, TreeError> {
        let Some((base, directories)) = parts.split_last() else {
            return Ok(Place::Root);
        };
        if directories
            .iter()
            .any(|part| part.of(raw).starts_with(META_MARKER))
        {
            return Ok(Place::Ignored);
        }
        let mut parent = ROOT;
        for part in directories {
            let component = part.of(raw);
            if component.starts_with(MARKER) {
                return Err(TreeError::Whiteout {
                    path: printable(raw),
                });
            }
            let found = self.find(parent, component);
            parent = match self.node_at(found) {
                Some(node) if self.shape(node).is_dir() => node,
                Some(node) if self.shape(node) != Shape::Whiteout => {
                    return Err(TreeError::NotADirectory {
                        path: printable(raw),
                    });
                }
                _ => self.implied(
                    parent,
                    found,
                    Name {
                        entry: id.0,
                        part: *part,
                    },
                )?,
            };
        }
        Ok(Place::In {
            parent,
            part: *base,
            base: base.of(raw),
        })
    }

    /// A directory that has children before any entry names it.
    fn implied(&mut self, parent: u32, found: Found, name: Name) -> Result<u32, TreeError> {
        let node = u32::try_from(self.nodes.len())
            .ok()
            .filter(|&node| node < MAX_NODES)
            .ok_or(TreeError::Many(MAX_NODES))?;
        self.nodes.push(Node {
            shape: Shape::Dir,
            parent,
            ..Node::UNUSED
        });
        self.link(parent, found, name, node);
        Ok(node)
    }

    /// What a hard link names, among the entries before it.
    fn target(&mut self, entry: &Entry<'a>) -> Result<u32, TreeError> {
        let raw = entry.linkname();
        let mut parts = std::mem::take(&mut self.parts);
        let cleaned = path::clean(raw, &mut parts);
        let found = parts.iter().try_fold(ROOT, |node, part| {
            self.node_at(self.find(node, part.of(raw)))
                .filter(|&node| self.shape(node) != Shape::Whiteout)
        });
        self.parts = parts;
        cleaned?;
        match found {
            Some(node) if self.shape(node).is_dir() => Err(TreeError::LinkedDirectory {
                path: printable(entry.name()),
            }),
            Some(node) => Ok(node),
            None => Err(TreeError::MissingTarget {
                path: printable(entry.name()),
                target: printable(raw),
            }),
        }
    }

    fn shape(&self, node: u32) -> Shape {
        usize::try_from(node)
            .ok()
            .and_then(|node| self.nodes.get(node))
            .map_or(Shape::Unused, |node| node.shape)
    }

    fn edit(&mut self, node: u32, change: impl FnOnce(&mut Node)) {
        if let Some(node) = usize::try_from(node)
            .ok()
            .and_then(|node| self.nodes.get_mut(node))
        {
            change(node);
        }
    }

    /// The attributes of a later entry replace those of an earlier one; extended attributes add up.
    fn overlay(&mut self, node: u32, id: EntryId) {
        let mut before = NONE;
        self.edit(node, |it| before = std::mem::replace(&mut it.meta, id.0));
        if before != NONE {
            self.earlier.push((node, before));
        }
    }

    fn find(&self, parent: u32, name: &[u8]) -> Found {
        self.names.find(parent, name, |slot| {
            self.slot(slot)
                .is_some_and(|slot| slot.parent == parent && slot.link.name.of(self.toc) == name)
        })
    }

    fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(usize::try_from(slot).ok()?)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(slot).ok()?)
    }

    /// None also for a name that was taken away again.
    fn node_at(&self, found: Found) -> Option<u32> {
        let Found::Slot(slot) = found else {
            return None;
        };
        let node = self.slot(slot)?.link.node;
        (node != NONE).then_some(node)
    }

    /// Replaces what had this name; what lay below it is then not reachable any more. `found` is where it is now.
    fn link(&mut self, parent: u32, found: Found, name: Name, node: u32) {
        let fresh = Slot {
            parent,
            link: Link { node, name },
        };
        match found {
            Found::Slot(slot) => {
                if let Some(slot) = self.slot_mut(slot) {
                    *slot = fresh;
                }
                self.last = None;
            }
            Found::Nowhere { place, hash } => {
                let slot = u32::try_from(self.slots.len()).unwrap_or(NONE);
                self.slots.push(fresh);
                let (slots, toc) = (&self.slots, self.toc);
                self.names.add(place, hash, slot, |slot| {
                    let slot = usize::try_from(slot).ok().and_then(|slot| slots.get(slot));
                    slot.map_or((NONE, &[]), |slot| (slot.parent, slot.link.name.of(toc)))
                });
            }
        }
    }

    fn unlink(&mut self, found: Found) {
        if let Found::Slot(slot) = found {
            if let Some(slot) = self.slot_mut(slot) {
                slot.link.node = NONE;
            }
            self.last = None;
        }
    }

    fn finish(self) -> Index {
        let Builder {
            toc,
            mut nodes,
            mut slots,
            mut earlier,
            names,
            ..
        } = self;
        drop(names);
        prune(&mut slots, nodes.len());
        count(&mut nodes, &slots);
        let mut links = grouped(&mut nodes, &slots);
        drop(slots);
        sort(&mut links, &nodes, toc);
        // Latest first, so that the first of a name is the one that counts.
        earlier.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        Index {
            nodes,
            links,
            earlier,
        }
    }
}

/// Drops the names that lie in a directory that was replaced.
fn prune(slots: &mut Vec<Slot>, nodes: usize) {
    let mut reachable = vec![false; nodes];
    if let Some(root) = reachable.first_mut() {
        *root = true;
    }
    slots.retain(|slot| {
        let kept = reachable.get(at(slot.parent)).copied().unwrap_or(false);
        match reachable.get_mut(at(slot.link.node)) {
            Some(node) if kept => {
                *node = true;
                true
            }
            _ => false,
        }
    });
}

/// Link counts.
fn count(nodes: &mut [Node], slots: &[Slot]) {
    if let Some(root) = nodes.first_mut() {
        root.nlink = 2;
    }
    for slot in slots {
        let mut is_dir = false;
        if let Some(node) = nodes.get_mut(at(slot.link.node)) {
            is_dir = node.shape.is_dir();
            node.nlink = node.nlink.saturating_add(if is_dir { 2 } else { 1 });
        }
        if let Some(parent) = nodes.get_mut(at(slot.parent)).filter(|_| is_dir) {
            parent.nlink = parent.nlink.saturating_add(1);
        }
    }
}

/// The children of each directory together, in the order of their entries; says in each node where its own begin.
fn grouped(nodes: &mut [Node], slots: &[Slot]) -> Vec<Link> {
    for slot in slots {
        if let Some(parent) = nodes.get_mut(at(slot.parent)) {
            parent.children = parent.children.saturating_add(1);
        }
    }
    // First where they end, which moves down to where they begin as they are put in place.
    let mut end: u32 = 0;
    for node in nodes.iter_mut() {
        end = end.saturating_add(node.children);
        node.children = end;
    }
    let mut links = vec![Link::NONE; slots.len()];
    for slot in slots.iter().rev() {
        if let Some(parent) = nodes.get_mut(at(slot.parent)) {
            parent.children = parent.children.saturating_sub(1);
            if let Some(place) = links.get_mut(at(parent.children)) {
                *place = slot.link;
            }
        }
    }
    links
}

/// By name within each directory, which many tars are already.
fn sort(links: &mut [Link], nodes: &[Node], toc: &Toc) {
    let ends = nodes.iter().skip(1).map(|node| at(node.children));
    let mut keyed: Vec<(u64, Link)> = Vec::new();
    let mut start = 0;
    for end in ends.chain([links.len()]) {
        let children = links.get_mut(start..end).unwrap_or_default();
        start = end;
        if children.is_sorted_by_key(|link| link.name.of(toc)) {
            continue;
        }
        // The first letters decide nearly always, and then no name has to be fetched.
        keyed.clear();
        keyed.extend(children.iter().map(|link| (letters(link, toc), *link)));
        keyed.sort_unstable_by(|(a, one), (b, other)| {
            let names = || one.name.of(toc).cmp(other.name.of(toc));
            a.cmp(b).then_with(names)
        });
        for (child, (_, link)) in children.iter_mut().zip(&keyed) {
            *child = *link;
        }
    }
}

/// The beginning of a name, as a number that orders as it does. No name has a NUL.
fn letters(link: &Link, toc: &Toc) -> u64 {
    let name = link.name.of(toc);
    let mut letters = [0; 8];
    for (letter, byte) in letters.iter_mut().zip(name) {
        *letter = *byte;
    }
    u64::from_be_bytes(letters)
}

fn at(node: u32) -> usize {
    usize::try_from(node).unwrap_or(usize::MAX)
}
