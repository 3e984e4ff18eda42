//! `index list|info|remove`.

use clap::{Args, Subcommand};
use oci_spec::image::Digest;

#[derive(Debug, Subcommand)]
pub(crate) enum IndexCommand {
    List(IndexList),
    Info(IndexInfo),
    Remove(IndexRemove),
}

/// List indexes built on this machine, newest first
#[derive(Debug, Args)]
#[command(
    alias = "ls",
    after_help = "Example:\n  soci index list --ref registry.example.com/app:1.4"
)]
pub(crate) struct IndexList {
    /// Only those of this image in containerd
    #[arg(long = "ref", value_name = "IMAGE")]
    pub image: Option<String>,
    /// Only those of this platform; may be repeated
    #[arg(long, short = 'p', value_delimiter = ',', value_name = "PLATFORM")]
    pub platform: Vec<String>,
}

/// Print the manifest of an index
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  soci index info sha256:6b0f...")]
pub(crate) struct IndexInfo {
    /// Digest of the index
    pub digest: Digest,
}

/// Remove indexes, and the zTOCs that no other index needs
#[derive(Debug, Args)]
#[command(
    alias = "rm",
    after_help = "Example:\n  soci index remove sha256:6b0f..."
)]
pub(crate) struct IndexRemove {
    /// Digests of indexes
    #[arg(value_name = "DIGEST", required_unless_present = "image")]
    pub digests: Vec<Digest>,
    /// All indexes of this image in containerd instead
    #[arg(long = "ref", value_name = "IMAGE", conflicts_with = "digests")]
    pub image: Option<String>,
}
