//! `create` and `convert`.

use clap::{Args, ValueEnum};

use super::build::{Build, Platforms};

/// Build a SOCI index (v1) for an image in containerd
///
/// The index refers to the image and leaves it as it is; `soci push` takes it to the registry. For an
/// image in a registry, `soci publish` does both without containerd.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  soci create --all-platforms registry.example.com/app:1.4\n\nDefault platform: this machine's."
)]
pub(crate) struct Create {
    /// Name of the image in containerd
    #[arg(value_name = "IMAGE")]
    pub image: String,
    #[command(flatten)]
    pub platforms: Platforms,
    #[command(flatten)]
    pub build: Build,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One tar
    OciArchive,
    /// A directory
    OciDir,
}

/// Make a new image with its SOCI indexes built in (v2)
///
/// The new image is named in containerd and pushed, pulled and signed like any other. With --standalone
/// source and destination are files, and neither containerd nor root is needed. The new digest is
/// printed last.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  soci convert app:1.4 app:1.4-soci\n  soci convert --standalone --all-platforms app.tar app-soci.tar\n\nDefault platform: this machine's."
)]
pub(crate) struct Convert {
    /// Name of the image in containerd; with --standalone an OCI layout (directory or tar) or the output
    /// of `docker save`
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// Name of the new image, with a tag; with --standalone the tar or directory to write
    #[arg(value_name = "DESTINATION")]
    pub destination: String,
    #[command(flatten)]
    pub platforms: Platforms,
    #[command(flatten)]
    pub build: Build,
    /// Work on files, without containerd
    #[arg(long)]
    pub standalone: bool,
    /// What --standalone writes
    #[arg(long, value_enum, default_value = "oci-archive")]
    pub format: Format,
}
