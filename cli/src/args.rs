//! The command line, one file per group of flags.

mod build;
mod convert;
mod global;
mod index;
mod inspect;
mod prefetch;
mod publish;
mod push;
mod registry;
mod ztoc;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::exit;

pub(crate) use build::{BUILD_TOOL, Build, jobs};
pub(crate) use convert::{Convert, Create, Format};
pub(crate) use global::{ContentStore, Global};
pub(crate) use index::{IndexCommand, IndexInfo, IndexList, IndexRemove};
pub(crate) use inspect::{Diff, Verify};
pub(crate) use prefetch::{PrefetchCommand, PrefetchExport, PrefetchMerge};
pub(crate) use publish::{Publish, SociVersion};
pub(crate) use push::{ExistingIndex, Push};
pub(crate) use registry::RegistryFlags;
pub(crate) use ztoc::{ZtocCommand, ZtocGetFile, ZtocInfo, ZtocList};

/// Callers such as nerdctl take the first version in this line for that of the reference tool, and demand
/// 0.10.0 for `convert`. It says whose commands and formats we keep to; ours follows in parentheses.
const VERSION: &str = concat!("version v0.15.0 (soci-rs ", env!("CARGO_PKG_VERSION"), ")");

/// Build, convert, push and check SOCI indexes.
///
/// A SOCI index lets a snapshotter start a container before its image is downloaded. `publish` works
/// on images in registries, layouts and archives, without containerd and without root; `create`,
/// `convert` and `push` work on images in containerd, as the reference tool does.
#[derive(Debug, Parser)]
#[command(
    name = "soci",
    version = VERSION,
    after_help = exit::HELP,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Create),
    Convert(Convert),
    Push(Push),
    Publish(Publish),
    Verify(Verify),
    Diff(Diff),
    /// List, show and remove indexes
    #[command(subcommand)]
    Index(IndexCommand),
    /// List and show zTOCs, and read files through them
    #[command(subcommand)]
    Ztoc(ZtocCommand),
    /// List and show prefetch artifacts and start-up profiles
    #[command(subcommand)]
    Prefetch(PrefetchCommand),
    RebuildDb(RebuildDb),
    Completions(Completions),
    Man(Man),
}

/// Search the content store for SOCI artifacts and list them anew
///
/// Useful after pulling an image with an index, and after contents were removed by others.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  soci rebuild-db")]
pub(crate) struct RebuildDb {}

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  soci completions bash > /usr/share/bash-completion/completions/soci"
)]
pub(crate) struct Completions {
    pub shell: Shell,
}

/// Write the man pages into a directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  soci man /usr/local/share/man/man1")]
pub(crate) struct Man {
    pub directory: std::path::PathBuf,
}
