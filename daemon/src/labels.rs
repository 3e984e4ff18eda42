//! Labels by which containerd and its clients describe an image layer to a snapshotter.

/// Marks a Prepare as one layer of an image; the value is the layer's chain ID.
pub const REF: &str = "containerd.io/snapshot.ref";
pub const IMAGE_REF: &str = "containerd.io/snapshot/cri.image-ref";
pub const MANIFEST_DIGEST: &str = "containerd.io/snapshot/cri.manifest-digest";
pub const LAYER_DIGEST: &str = "containerd.io/snapshot/cri.layer-digest";
pub const IMAGE_LAYERS: &str = "containerd.io/snapshot/cri.image-layers";
pub const LAYER_SIZE: &str = "containerd.io/snapshot/remote/soci.size";
pub const IMAGE_LAYER_SIZES: &str = "containerd.io/snapshot/remote/image.layers.size";
pub const INDEX_DIGEST: &str = "containerd.io/snapshot/remote/soci.index.digest";
pub const UID_MAPPING: &str = "containerd.io/snapshot/uidmapping";
pub const GID_MAPPING: &str = "containerd.io/snapshot/gidmapping";

/// Written on a layer that is mounted lazily.
pub const REMOTE: &str = "containerd.io/snapshot/remote";
pub const REMOTE_VALUE: &str = "remote snapshot";
/// Written on every layer the snapshotter prepared itself: the namespace that asked for it.
pub const NAMESPACE: &str = "containerd.io/snapshot/remote/namespace";
/// Written on a layer that is served through a SOCI index.
pub const HAS_INDEX: &str = "containerd.io/snapshot/remote/has.soci.index.digest";
