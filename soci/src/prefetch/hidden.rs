//! What upper layers hide of the lower ones.

use std::collections::HashSet;

use crate::path;
use crate::toc::Toc;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Clean paths that lower layers no longer show.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// Gone, with all below.
    removed: HashSet<Vec<u8>>,
    /// Directories that show nothing of lower layers.
    opaque: HashSet<Vec<u8>>,
}

impl Hidden {
    /// Takes the whiteouts of a layer, which hide nothing of that layer itself.
    pub(super) fn add_layer(&mut self, toc: &Toc) {
        for (_, entry) in toc.iter() {
            let name = path::clean(entry.name());
            let (directory, name) = path::split(&name);
            if name == OPAQUE {
                self.opaque.insert(directory.to_vec());
            } else if let Some(name) = name.strip_prefix(WHITEOUT) {
                let slash: &[u8] = if directory.is_empty() { b"" } else { b"/" };
                self.removed.insert([directory, slash, name].concat());
            }
        }
    }

    /// Hides a file that an upper layer has itself.
    pub(super) fn add_file(&mut self, path: Vec<u8>) {
        self.removed.insert(path);
    }

    pub(super) fn hides(&self, path: &[u8]) -> bool {
        self.removed.contains(path)
            || path::ancestors(path).any(|directory| {
                self.removed.contains(directory) || self.opaque.contains(directory)
            })
    }
}

pub(super) fn is_whiteout(path: &[u8]) -> bool {
    path::split(path).1.starts_with(WHITEOUT)
}
