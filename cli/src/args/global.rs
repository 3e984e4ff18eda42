//! Flags of every command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ContentStore {
    /// containerd's own
    Containerd,
    /// An OCI layout below --root
    Soci,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Socket of containerd
    #[arg(
        long,
        short = 'a',
        global = true,
        env = "CONTAINERD_ADDRESS",
        default_value = "/run/containerd/containerd.sock"
    )]
    pub address: String,
    /// Namespace of containerd
    #[arg(
        long,
        short = 'n',
        global = true,
        env = "CONTAINERD_NAMESPACE",
        default_value = "default"
    )]
    pub namespace: String,
    /// Give up after this long: 90s, 1m30s, 1h; 0 is never
    #[arg(long, global = true, value_parser = time::duration, default_value = "0", hide_default_value = true)]
    pub timeout: Duration,
    /// Log to stderr what is being done
    #[arg(long, global = true)]
    pub debug: bool,
    /// Where built artifacts are kept
    #[arg(long, global = true, value_enum, default_value = "containerd")]
    pub content_store: ContentStore,
    /// Where the list of built artifacts is kept, and the profiles of the snapshotter
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/var/lib/soci-snapshotter-grpc/"
    )]
    pub root: PathBuf,
    /// Print only the result
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub json: bool,
}
