//! Media types of SOCI artifacts.

/// Config media type, and referrers artifact type, of a v1 index.
pub const INDEX_V1: &str = "application/vnd.amazon.soci.index.v1+json";
/// Config media type of a v2 index.
pub const INDEX_V2: &str = "application/vnd.amazon.soci.index.v2+json";
pub const ZTOC: &str = "application/octet-stream";
pub const PREFETCH: &str = "application/vnd.amazon.soci.prefetch.v1+json";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const IMAGE_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const IMAGE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
