//! soci-snapshotter-grpc: a containerd snapshotter that starts containers before their image is here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use daemon::config::{self, Config, Loaded};
use daemon::process;
use daemon::telemetry::{self, Level};

/// Serves the layers of indexed images through FUSE and loads their bytes as they are read.
#[derive(Parser)]
#[command(
    name = "soci-snapshotter-grpc",
    version,
    args_conflicts_with_subcommands = false
)]
struct Arguments {
    /// Where to listen: a path, unix://PATH, or fd:// for the socket systemd hands over.
    #[arg(
        long,
        env = "SOCI_SNAPSHOTTER_ADDRESS",
        default_value = "/run/soci-snapshotter-grpc/soci-snapshotter-grpc.sock"
    )]
    address: String,
    /// The configuration; the default path may be absent.
    #[arg(long, env = "SOCI_SNAPSHOTTER_CONFIG", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
    /// How much to log. RUST_LOG (target=level,…) sets single targets.
    #[arg(
        long,
        env = "SOCI_SNAPSHOTTER_LOG_LEVEL",
        value_enum,
        default_value = "info"
    )]
    log_level: Level,
    /// Where snapshots, zTOCs and cached spans live; made if it is missing.
    #[arg(
        long,
        env = "SOCI_SNAPSHOTTER_ROOT",
        default_value = "/var/lib/soci-snapshotter-grpc"
    )]
    root: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Show the configuration.
    #[command(subcommand)]
    Config(Show),
}

#[derive(Subcommand)]
enum Show {
    /// Print what holds without a file.
    Default,
    /// Print what holds with the file.
    Dump,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "soci-snapshotter-grpc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Config(Show::Default)) = arguments.command {
        return print(&Config::default());
    }
    let named = arguments.config != Path::new(config::DEFAULT_PATH);
    let Loaded { config, warnings } = Config::load(&arguments.config, named)?;
    if let Some(Command::Config(Show::Dump)) = arguments.command {
        return print(&config);
    }
    let directives = std::env::var("RUST_LOG").ok();
    telemetry::init(
        arguments.log_level,
        config.fuse.log_fuse_operations,
        directives.as_deref(),
    )
    .map_err(anyhow::Error::msg)?;
    for warning in warnings {
        tracing::warn!(
            key = warning.key,
            reason = warning.reason,
            "this key has no effect"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    // Not `block_on` of a handle: this thread has nothing else to do.
    runtime.block_on(process::serve(&arguments.root, &arguments.address, config))
}

fn print(config: &Config) -> anyhow::Result<()> {
    let text = config.to_toml()?;
    std::io::stdout()
        .write_all(text.as_bytes())
        .context("cannot print the configuration")
}
