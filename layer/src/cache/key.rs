//! What bytes in the cache are about. Another index of the same layer shares nothing: its digests are its own trust.

use oci_spec::image::Digest;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

const LOCAL: &str = "local";

/// Also the two levels of directories.
#[derive(Clone, Debug, Eq, PartialEq, Hash)]
pub(super) struct Key {
    layer: String,
    index: String,
}

impl Key {
    pub(super) fn new(layer: &Digest, ztoc: Option<&Digest>) -> Key {
        Key {
            layer: layer.digest().to_owned(),
            index: ztoc.map_or(LOCAL, |ztoc| ztoc.digest()).to_owned(),
        }
    }

    pub(super) fn from_names(layer: String, index: String) -> Key {
        Key { layer, index }
    }

    /// Pulled whole, so there is nowhere to fetch it from span by span.
    pub(super) fn is_local(&self) -> bool {
        self.index == LOCAL
    }

    pub(super) fn parent(&self, root: &Path) -> PathBuf {
        root.join(&self.layer)
    }

    pub(super) fn dir(&self, root: &Path) -> PathBuf {
        self.parent(root).join(&self.index)
    }

    pub(super) fn names(&self) -> u128 {
        xxh3_128(format!("{}\0{}", self.layer, self.index).as_bytes())
    }
}
