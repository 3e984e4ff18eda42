//! `prefetch list|info`.

use clap::{Args, Subcommand};
use oci_spec::image::Digest;

#[derive(Debug, Subcommand)]
pub(crate) enum PrefetchCommand {
    List(PrefetchList),
    Info(PrefetchInfo),
}

/// List prefetch artifacts built on this machine
#[derive(Debug, Args)]
#[command(alias = "ls", after_help = "Example:\n  soci prefetch list")]
pub(crate) struct PrefetchList {}

/// Show the spans of a prefetch artifact
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  soci prefetch info sha256:51cd...")]
pub(crate) struct PrefetchInfo {
    /// Digest of the prefetch artifact
    pub digest: Digest,
}
