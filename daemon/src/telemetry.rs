//! Log output: JSON lines on standard error, one target per crate.

use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Levels as the reference's `--log-level` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
    Panic,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => LevelFilter::TRACE,
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            Level::Error | Level::Fatal | Level::Panic => LevelFilter::ERROR,
        }
    }
}

const OURS: [&str; 5] = ["daemon", "fuse", "layer", "registry", "soci"];

/// Starts logging. `level` holds for our crates; libraries stay at warnings, since at lower levels
/// they print headers and URLs. `directives` (as in `fuse=trace,layer=debug`) override both.
pub fn init(level: Level, fuse_operations: bool, directives: Option<&str>) -> Result<(), String> {
    let mut targets = Targets::new().with_default(LevelFilter::from(level).min(LevelFilter::WARN));
    for target in OURS {
        targets = targets.with_target(target, level);
    }
    if fuse_operations {
        targets = targets.with_target("fuse", LevelFilter::TRACE);
    }
    if let Some(text) = directives.filter(|text| !text.is_empty()) {
        let extra = Targets::from_str(text)
            .map_err(|error| format!("RUST_LOG is not a list of target=level: {error}"))?;
        targets = targets.with_targets(extra);
    }
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(targets)
        .with(lines)
        .try_init()
        .map_err(|error| format!("cannot start logging: {error}"))
}
