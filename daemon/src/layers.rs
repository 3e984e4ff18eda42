//! The seam between snapshot bookkeeping and layers that are mounted instead of unpacked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

/// The number of a snapshot; never used twice, and the name of its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(pub u64);

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a snapshot takes up on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    pub inodes: u64,
    pub bytes: u64,
}

/// What happened to one image layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Mounted; its bytes come when they are read.
    Remote,
    /// Pulled whole and mounted, because it cannot be loaded lazily.
    Local { reason: String },
    /// Left to containerd, which downloads and unpacks it.
    Deferred { reason: String },
}

/// Why a layer cannot be mounted now; the text names the layer and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

/// Mounts image layers. `labels` are those of the Prepare request, then those of the snapshot.
pub trait Layers: Send + Sync + 'static {
    /// Decides about one layer of an image that is pulled into a namespace of containerd. On `Remote` and `Local` it is mounted at `fs` when this returns;
    /// on `Deferred`, or when the future is dropped, nothing is left mounted.
    fn prepare<'a>(
        &'a self,
        id: SnapshotId,
        fs: PathBuf,
        namespace: &'a str,
        labels: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Outcome>;

    /// Unmounts and forgets a layer, or anything else that is mounted at `fs`. May block: the
    /// caller keeps it off the runtime's threads. Called again it does nothing.
    fn remove(&self, id: SnapshotId, fs: &Path);

    /// What a mounted layer takes up in the caches; `None` when it is not mounted.
    fn usage(&self, id: SnapshotId) -> Option<Usage>;

    /// Makes a layer of an earlier process served again, without the network. Does nothing when
    /// it is served already.
    fn restore<'a>(
        &'a self,
        id: SnapshotId,
        fs: PathBuf,
        labels: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<(), Unavailable>>;

    /// A container, or whatever else writes on top of an image, is about to start. `image` are the labels of the layer it
    /// stands on, `layers` that one and all below it. Does not block.
    fn starting(&self, image: &BTreeMap<String, String>, layers: &[SnapshotId]);
}
