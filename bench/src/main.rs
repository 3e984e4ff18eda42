//! The bench: cold starts side by side, and the figures behind them, on real containerd, runc and registry.

// This program talks to the person who started it.
#![allow(clippy::print_stdout)]

mod calibrate;
mod chart;
mod cold;
mod index;
mod inflate;
mod links;
mod machine;
mod mode;
mod needed;
mod node;
mod start;
mod stats;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures this snapshotter and its peers. Every command prints the lines it stands for; nothing it starts stays.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Starts of containers whose image is not here yet.
    Cold(cold::Arguments),
    /// Making an index: bytes a CPU second, memory.
    Index(index::Arguments),
    /// Inflating spans from checkpoints: bytes a CPU second.
    Inflate(inflate::Arguments),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Cold(arguments) => cold::main(&arguments),
        Command::Index(arguments) => index::main(&arguments),
        Command::Inflate(arguments) => inflate::main(&arguments),
    }
}
