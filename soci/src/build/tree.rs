//! Whether the members of a layer make a tree: rules that mounting it will apply.

use std::collections::HashMap;

use super::error::BuildError;
use super::files::File;
use crate::toc::Kind;

const MARKER: &[u8] = b".wh.";
const META_MARKER: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Bytes of a path, and the deepest one.
const MAX_PATH: usize = 4096;
const MAX_DEPTH: usize = 256;
const MAX_NAME: usize = 255;
const ROOT: Node = Node {
    id: 0,
    shape: Shape::Dir,
};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Dir,
    Whiteout,
    Other,
}

/// What a name stands for at some point of the tar.
#[derive(Clone, Copy)]
struct Node {
    id: u32,
    shape: Shape,
}

/// Names so far, by directory. Those in a directory that was replaced stay behind, out of reach.
struct Names<'a> {
    nodes: HashMap<(u32, &'a [u8]), Node>,
    next: u32,
    /// The directory that the last name was in, as it was written: the next is mostly in the same.
    last: Option<(&'a [u8], u32)>,
}

/// Refuses what a tree cannot hold, in tar order: foremost hard links to what is not there, or not yet.
pub(super) fn check<'a>(files: impl ExactSizeIterator<Item = File<'a>>) -> Result<(), BuildError> {
    let mut names = Names {
        nodes: HashMap::with_capacity(files.len()),
        next: 1,
        last: None,
    };
    for file in files {
        names.apply(&file).map_err(|reason| {
            let name = file.name.escape_ascii();
            BuildError::unsupported(format!("{name}: {reason}"))
        })?;
    }
    Ok(())
}

impl<'a> Names<'a> {
    fn apply(&mut self, file: &File<'a>) -> Result<(), String> {
        let Some((directory, base)) = self.place(file.name)? else {
            return Ok(());
        };
        if base == OPAQUE || base.starts_with(META_MARKER) {
            return Ok(());
        }
        if let Some(hidden) = base.strip_prefix(MARKER) {
            if matches!(hidden, b"" | b"." | b"..") {
                return Err("whiteout of nothing".to_owned());
            }
            if !self.nodes.contains_key(&(directory, hidden)) {
                self.put(directory, hidden, Shape::Whiteout)?;
            }
            return Ok(());
        }
        match file.kind {
            Kind::Dir => {
                let known = self.nodes.get(&(directory, base));
                if known.is_none_or(|node| node.shape != Shape::Dir) {
                    self.put(directory, base, Shape::Dir)?;
                }
            }
            Kind::Hardlink => {
                // Removed first: a link to itself has no target.
                let removed = self.nodes.remove(&(directory, base));
                self.forget(removed);
                self.check_target(file.linkname)?;
                self.put(directory, base, Shape::Other)?;
            }
            Kind::Symlink if !(1..MAX_PATH).contains(&file.linkname.len()) => {
                return Err("symlink without a target, or with one too long".to_owned());
            }
            _ => self.put(directory, base, Shape::Other)?,
        }
        Ok(())
    }

    /// The directory of a name, and the name in it. `None` for the root, and below names that mean something else.
    fn place(&mut self, name: &'a [u8]) -> Result<Option<(u32, &'a [u8])>, String> {
        let (written, plain) = match name.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => name.split_at(slash),
            None => (&[] as &[u8], name),
        };
        let plain = plain.strip_prefix(b"/").unwrap_or(plain);
        let is_plain = !matches!(plain, b"" | b"." | b"..") && plain.len() <= MAX_NAME;
        if let Some((last, directory)) = self.last
            && last == written
            && is_plain
            && name.len() <= MAX_PATH
        {
            return Ok(Some((directory, plain)));
        }
        let parts = components(name)?;
        let Some((base, directories)) = parts.split_last() else {
            return Ok(None);
        };
        if directories.iter().any(|name| name.starts_with(META_MARKER)) {
            return Ok(None);
        }
        let directory = self.descend(directories)?;
        if is_plain {
            self.last = Some((written, directory));
        }
        Ok(Some((directory, *base)))
    }

    /// The directory of these names, with the parents that no entry has named made on the way.
    fn descend(&mut self, directories: &[&'a [u8]]) -> Result<u32, String> {
        let mut parent = ROOT.id;
        for name in directories {
            if name.starts_with(MARKER) {
                return Err("file below a whiteout".to_owned());
            }
            parent = match self.nodes.get(&(parent, *name)) {
                Some(node) if node.shape == Shape::Dir => node.id,
                Some(node) if node.shape == Shape::Other => {
                    return Err("file below something that is not a directory".to_owned());
                }
                _ => {
                    let id = self.next;
                    self.put(parent, name, Shape::Dir)?;
                    id
                }
            };
        }
        Ok(parent)
    }

    fn check_target(&self, target: &'a [u8]) -> Result<(), String> {
        let mut node = Some(ROOT);
        for name in components(target)? {
            node = node.and_then(|node| self.nodes.get(&(node.id, name)).copied());
        }
        let shown = target.escape_ascii();
        match node.map(|node| node.shape) {
            Some(Shape::Other) => Ok(()),
            Some(Shape::Dir) => Err(format!("hard link to a directory, {shown}")),
            Some(Shape::Whiteout) | None => Err(format!(
                "hard link to {shown}, which is not in this layer or comes later"
            )),
        }
    }

    fn put(&mut self, directory: u32, name: &'a [u8], shape: Shape) -> Result<(), String> {
        let id = self.next;
        self.next = id
            .checked_add(1)
            .ok_or("more files and directories than readers count")?;
        let replaced = self.nodes.insert((directory, name), Node { id, shape });
        self.forget(replaced);
        Ok(())
    }

    /// A directory that went may be the last one, or above it.
    fn forget(&mut self, gone: Option<Node>) {
        if gone.is_some_and(|node| node.shape == Shape::Dir) {
            self.last = None;
        }
    }
}

/// Lexically cleaned, so that no name leaves the root; none are left for the root itself.
fn components(path: &[u8]) -> Result<Vec<&[u8]>, String> {
    if path.len() > MAX_PATH {
        return Err(format!("path longer than {MAX_PATH} bytes"));
    }
    let mut parts = Vec::new();
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            name if name.len() > MAX_NAME => {
                return Err("component longer than 255 bytes".to_owned());
            }
            name => parts.push(name),
        }
    }
    if parts.len() > MAX_DEPTH {
        return Err(format!("more than {MAX_DEPTH} directories deep"));
    }
    Ok(parts)
}
