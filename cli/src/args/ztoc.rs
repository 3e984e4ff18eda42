//! `ztoc list|info|get-file`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use oci_spec::image::Digest;

#[derive(Debug, Subcommand)]
pub(crate) enum ZtocCommand {
    List(ZtocList),
    Info(ZtocInfo),
    GetFile(ZtocGetFile),
}

/// List zTOCs built on this machine
#[derive(Debug, Args)]
#[command(
    alias = "ls",
    after_help = "Example:\n  soci ztoc list --image-ref registry.example.com/app:1.4"
)]
pub(crate) struct ZtocList {
    /// Only this zTOC
    #[arg(long, value_name = "DIGEST")]
    pub ztoc_digest: Option<Digest>,
    /// Only those of this image in containerd
    #[arg(long, value_name = "IMAGE")]
    pub image_ref: Option<String>,
}

/// Print what a zTOC says, as JSON
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  soci ztoc info sha256:0732...")]
pub(crate) struct ZtocInfo {
    /// Digest of the zTOC
    pub digest: Digest,
}

/// Read one file out of a layer in containerd, fetching only its spans
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  soci ztoc get-file -o os-release sha256:0732... etc/os-release"
)]
pub(crate) struct ZtocGetFile {
    /// Digest of the zTOC
    pub digest: Digest,
    /// Path of the file in the layer
    pub file: String,
    /// Write to a file instead of standard output
    #[arg(long, short = 'o', value_name = "FILE")]
    pub output: Option<PathBuf>,
}
