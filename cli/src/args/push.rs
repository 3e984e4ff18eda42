//! `push`.

use clap::{Args, ValueEnum};

use super::build::Platforms;
use super::registry::RegistryFlags;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExistingIndex {
    /// Say so and push all the same
    Warn,
    /// Do not push
    Skip,
    /// Do not look
    Allow,
}

/// Push the newest index (v1) of an image to its registry
///
/// A converted image (v2) is pushed as any other image, by nerdctl or ctr.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  soci push --user me:secret registry.example.com/app:1.4\n\nDefault platform: this machine's."
)]
pub(crate) struct Push {
    /// Name of the image in containerd
    #[arg(value_name = "IMAGE")]
    pub image: String,
    #[command(flatten)]
    pub platforms: Platforms,
    /// When the registry has an index of the image already
    #[arg(long, value_enum, default_value = "warn")]
    pub existing_index: ExistingIndex,
    /// Uploads at once; 0 is 3
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub max_concurrent_uploads: usize,
    /// Accepted for compatibility: the index does not depend on it
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", hide = true)]
    pub snapshotter: Option<String>,
    /// Say what would be pushed
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub registry: RegistryFlags,
}
