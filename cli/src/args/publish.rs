//! `publish`.

use clap::{Args, ValueEnum};

use super::build::{Build, Platforms};
use super::registry::RegistryFlags;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SociVersion {
    /// Beside the image, which stays as it is
    #[value(alias = "V1")]
    V1,
    /// Within a new image
    #[value(alias = "V2")]
    V2,
}

/// Index an image where it is, and publish the index: no containerd, no root, no copy on disk
///
/// With a source alone, an index (v1) is built and put beside the image in its registry. With a destination
/// or --tag, a new image with its index built in (v2) is written there. What is there already is not
/// uploaded again; what was indexed before is not indexed again, unless --force is given.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  soci publish registry.example.com/app:1.4\n  soci publish registry.example.com/app:1.4 --tag 1.4-soci\n  soci publish oci-archive:app.tar registry.example.com/app:1.4-soci\n\nAn image is a reference in a registry, oci:DIR, oci-archive:FILE or docker-archive:FILE (also with\n@NAME to choose one of several). Default platform: all of the image."
)]
pub(crate) struct Publish {
    /// Where the image is
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Where the image with its index goes: a reference with a tag, oci:DIR or oci-archive:FILE
    #[arg(value_name = "DESTINATION", conflicts_with = "tag")]
    pub destination: Option<String>,
    /// Tag of the new image in the repository of the source
    #[arg(long)]
    pub tag: Option<String>,
    /// v1 beside the image or v2 within a new one [default: v2 with a destination, else v1]
    #[arg(long, value_enum, value_name = "VERSION")]
    pub soci_version: Option<SociVersion>,
    #[command(flatten)]
    pub platforms: Platforms,
    #[command(flatten)]
    pub build: Build,
    /// Build, and say what would be uploaded
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub registry: RegistryFlags,
}
