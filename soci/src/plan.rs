//! Which layers of an image are indexed, and how they are read.

use crate::media_types;
use crate::spans::Compression;

/// Smaller layers are not worth an index.
pub const DEFAULT_MIN_LAYER_SIZE: u64 = 10 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPlan {
    Index(Compression),
    /// The image is indexed without this layer.
    Skip(Skip),
    /// Not a file system layer: the reference tool refuses the whole image.
    NotALayer,
}

/// Why a layer has no zTOC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Skip {
    #[error("it is a prefetch artifact")]
    Prefetch,
    #[error("its {size} bytes are below the minimum of {min}")]
    TooSmall { size: u64, min: u64 },
    #[error("zstd layers cannot be indexed")]
    Zstd,
    #[error("its media type says nothing about its compression, or that it is encrypted")]
    Unsupported,
}

/// What to do with a layer of this media type and size; a layer of just `min_layer_size` is indexed.
pub fn layer(media_type: &str, size: u64, min_layer_size: u64) -> LayerPlan {
    if media_type == media_types::PREFETCH {
        return LayerPlan::Skip(Skip::Prefetch);
    }
    let Some(compression) = compression(media_type) else {
        return LayerPlan::NotALayer;
    };
    if size < min_layer_size {
        let min = min_layer_size;
        return LayerPlan::Skip(Skip::TooSmall { size, min });
    }
    compression.map_or_else(LayerPlan::Skip, LayerPlan::Index)
}

/// `None` for what is no layer at all.
fn compression(media_type: &str) -> Option<Result<Compression, Skip>> {
    const DOCKER: &str = "application/vnd.docker.image.rootfs.";
    if let Some(docker) = media_type.strip_prefix(DOCKER) {
        let tar = docker.strip_prefix("foreign.").unwrap_or(docker);
        return match tar {
            // Nothing is said about compression; the builder finds out.
            "diff.tar" => Some(Ok(Compression::Tar)),
            "diff.tar.gzip" => Some(Ok(Compression::Gzip)),
            "diff.tar.zstd" => Some(Err(Skip::Zstd)),
            wrapped if wrapped.starts_with("diff.tar") => Some(Err(Skip::Unsupported)),
            _ => None,
        };
    }
    let oci = media_type.strip_prefix("application/vnd.oci.image.layer.")?;
    Some(match oci {
        "v1.tar" => Ok(Compression::Tar),
        "v1.tar+gzip" | "nondistributable.v1.tar+gzip" => Ok(Compression::Gzip),
        "v1.tar+zstd" | "nondistributable.v1.tar+zstd" => Err(Skip::Zstd),
        _ => Err(Skip::Unsupported),
    })
}
