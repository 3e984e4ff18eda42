//! One run of a program, and what the kernel says that it took.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Took {
    /// User and system time of all threads, in seconds.
    pub(crate) cpu: f64,
    /// In seconds.
    pub(crate) wall: f64,
    /// The most memory that was resident at once, in bytes.
    pub(crate) peak: u64,
    /// Bytes that went to a file system with a disk, scratch files included.
    pub(crate) written: u64,
}

/// Runs a program and prints what it took.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(trailing_var_arg = true, required = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The kernel adds children up; a process that had no other child knows what this one took.
pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let (program, words) = arguments.command.split_first().context("no program")?;
    let written = written()?;
    let begin = Instant::now();
    let status = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    let wall = begin.elapsed().as_secs_f64();
    ensure!(status.success(), "it failed: {status}");
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time() + usage.system_time();
    let took = Took {
        cpu: cpu.num_microseconds() as f64 / 1e6,
        wall,
        peak: u64::try_from(usage.max_rss())? << 10,
        written: self::written()?.saturating_sub(written),
    };
    println!("{}", serde_json::to_string(&took)?);
    Ok(())
}

/// Of this process and of the children it has waited for.
fn written() -> Result<u64> {
    let account = std::fs::read_to_string("/proc/self/io")?;
    let line = account
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("/proc/self/io")?.parse()?)
}

/// What a command takes whose temporary files are in `scratch`.
pub(super) fn run(command: &[OsString], scratch: &Path) -> Result<Took> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("child").args(command).env("TMPDIR", scratch);
    let printed = harness::command::run(&mut child)?;
    Ok(serde_json::from_str(&printed)?)
}
