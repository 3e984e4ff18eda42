//! `verify` and `diff`.

use std::num::NonZeroUsize;

use clap::Args;

use super::build::Platforms;
use super::registry::RegistryFlags;

const PLACES: &str = "An image or index is a reference in a registry, oci:DIR, oci-archive:FILE,\ndocker-archive:FILE or containerd:NAME.";

/// Check SOCI indexes against their image, byte for byte
///
/// Every layer is streamed once: spans, digests and each tar header are compared with the zTOC, and
/// annotations, sizes and manifests with each other. Findings are errors (a reader refuses or shows something
/// wrong), warnings and notes; any error makes the exit code 4.
#[derive(Debug, Args)]
#[command(
    after_help = format!("Example:\n  soci verify registry.example.com/app:1.4-soci\n\n{PLACES} Default platform: all.")
)]
pub(crate) struct Verify {
    /// The image, or an index of it by digest
    #[arg(value_name = "IMAGE|INDEX")]
    pub image: String,
    #[command(flatten)]
    pub platforms: Platforms,
    /// Check manifests and zTOCs only, without reading layers
    #[arg(long)]
    pub skip_layers: bool,
    /// Layers at once [default: the number of cores]
    #[arg(long, short = 'j', value_name = "N")]
    pub jobs: Option<NonZeroUsize>,
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Say how two SOCI indexes differ
///
/// The zTOCs of layers that both have are compared entry by entry. Exit code 4 if they differ.
#[derive(Debug, Args)]
#[command(
    after_help = format!("Example:\n  soci diff registry.example.com/app@sha256:6b0f... registry.example.com/app@sha256:91ce...\n\n{PLACES}")
)]
pub(crate) struct Diff {
    /// An index, or an image with just one
    #[arg(value_name = "OLD")]
    pub old: String,
    /// Another
    #[arg(value_name = "NEW")]
    pub new: String,
    #[command(flatten)]
    pub platforms: Platforms,
    #[command(flatten)]
    pub registry: RegistryFlags,
}
