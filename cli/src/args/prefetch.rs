//! `prefetch list|info|recorded|export|merge`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::build::Platforms;
use super::registry::RegistryFlags;

#[derive(Debug, Subcommand)]
pub(crate) enum PrefetchCommand {
    List(PrefetchList),
    Info(PrefetchInfo),
    Recorded(PrefetchRecorded),
    Export(PrefetchExport),
    Merge(PrefetchMerge),
}

/// List prefetch artifacts built on this machine
#[derive(Debug, Args)]
#[command(alias = "ls", after_help = "Example:\n  soci prefetch list")]
pub(crate) struct PrefetchList {}

/// Show what a prefetch artifact or a start-up profile lists
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  soci prefetch info sha256:51cd...\n  soci prefetch info app.profile.json"
)]
pub(crate) struct PrefetchInfo {
    /// Digest of a prefetch artifact built on this machine, or a file with a profile
    #[arg(value_name = "DIGEST|FILE")]
    pub what: String,
}

/// List the start-up profiles that the snapshotter of this machine has recorded
///
/// There is nothing to do for a recording but to run the image: the snapshotter notes which parts of the
/// layers its starts read, and keeps that below --root by the digest of the image manifest.
#[derive(Debug, Args)]
#[command(alias = "record", after_help = "Example:\n  soci prefetch recorded")]
pub(crate) struct PrefetchRecorded {}

/// Write the start-up profile that the snapshotter of this machine has recorded of an image
///
/// With it `publish`, `create` and `convert` make an index from which every node starts the image faster
/// (--profile). A copy of the file in the same place below --root serves another node without that.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  soci prefetch export -o app.profile.json registry.example.com/app:1.4\n  soci publish --profile app.profile.json registry.example.com/app:1.4 --tag 1.4-fast\n\nAn image is a reference in a registry, oci:DIR, oci-archive:FILE, docker-archive:FILE, containerd:NAME, or\nthe digest of an image manifest. Default platform: this machine's."
)]
pub(crate) struct PrefetchExport {
    /// The image as it was run
    #[arg(value_name = "IMAGE|DIGEST")]
    pub image: String,
    #[command(flatten)]
    pub platforms: Platforms,
    /// Write to a file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Make one start-up profile of several, of one image or of many
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  soci prefetch merge -o app.profile.json node1.json node2.json")]
pub(crate) struct PrefetchMerge {
    /// Files with profiles
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Write to a file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
}
