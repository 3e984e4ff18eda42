//! Snapshot labels that containerd, its clients and the snapshotter exchange.

/// Marks a Prepare as one for an image layer; the value is its chain id.
pub const SNAPSHOT_REF: &str = "containerd.io/snapshot.ref";
pub const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
pub const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
pub const LAYER_DIGEST: &str = "containerd.io/snapshot/cri.layer-digest";
/// This layer and those above it, comma separated.
pub const IMAGE_LAYERS: &str = "containerd.io/snapshot/cri.image-layers";
/// Size of the compressed layer, decimal.
pub const LAYER_SIZE: &str = "containerd.io/snapshot/remote/soci.size";
/// Sizes parallel to [`IMAGE_LAYERS`].
pub const IMAGE_LAYER_SIZES: &str = "containerd.io/snapshot/remote/image.layers.size";
/// Digest of the SOCI index to use; empty means none was chosen.
pub const INDEX_DIGEST: &str = "containerd.io/snapshot/remote/soci.index.digest";
pub const UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";
pub const GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";

/// Written on commit: the containerd namespace the layer was prepared for.
pub const NAMESPACE: &str = "containerd.io/snapshot/remote/namespace";
/// Written on commit of a lazily mounted layer, with [`REMOTE_VALUE`].
pub const REMOTE: &str = "containerd.io/snapshot/remote";
pub const REMOTE_VALUE: &str = "remote snapshot";
/// Written on commit of layers prepared by us; the value is `true`.
pub const HAS_INDEX_DIGEST: &str = "containerd.io/snapshot/remote/has.soci.index.digest";
