//! Annotation keys of SOCI manifests and descriptors.

/// On a zTOC descriptor: media type of the layer it describes.
pub const LAYER_MEDIA_TYPE: &str = "com.amazon.soci.image-layer-mediaType";
/// On a zTOC or prefetch descriptor: digest of the compressed layer.
pub const LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";
/// On a zTOC descriptor: span size it was built with, decimal.
pub const SPAN_SIZE: &str = "com.amazon.soci.span-size";
/// On a zTOC descriptor: the layer has no extended attributes at all.
pub const DISABLE_XATTRS: &str = "com.amazon.soci.disable-xattrs";
/// On a SOCI index manifest.
pub const BUILD_TOOL: &str = "com.amazon.soci.build-tool-identifier";
/// On the descriptor of a SOCI index (v2): digest of its image manifest.
pub const IMAGE_MANIFEST_DIGEST: &str = "com.amazon.soci.image-manifest-digest";
/// On an image manifest (v2): digest of its SOCI index.
pub const INDEX_DIGEST: &str = "com.amazon.soci.index-digest";
/// On the descriptor of a BuildKit attestation: what it is.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// On the descriptor of a BuildKit attestation: digest of the image manifest it is about.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
