//! The bench: cold starts side by side, and the figures behind them, on real containerd, runc and registry.

// This program talks to the person who started it.
#![allow(clippy::print_stdout)]

mod background;
mod calibrate;
mod cold;
mod figures;
mod files;
mod first_read;
mod index;
mod links;
mod machine;
mod memory;
mod mode;
mod needed;
mod node;
mod spans;
mod start;
mod stats;
mod tree;
mod warm;

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
    Cold(cold::Arguments),
    FirstRead(first_read::Arguments),
    Warm(warm::Arguments),
    Background(background::Arguments),
    Memory(memory::Arguments),
    Files(files::Arguments),
    Link(calibrate::Arguments),
    Index(index::Arguments),
    Spans(spans::Arguments),
    #[command(hide = true)]
    Child(index::Child),
    #[command(hide = true)]
    Inflate(index::Inflate),
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Cold(arguments) => cold::main(&arguments),
        Command::FirstRead(arguments) => first_read::main(&arguments),
        Command::Warm(arguments) => warm::main(&arguments),
        Command::Background(arguments) => background::main(&arguments),
        Command::Memory(arguments) => memory::main(&arguments),
        Command::Files(arguments) => files::main(&arguments),
        Command::Link(arguments) => calibrate::main(&arguments),
        Command::Index(arguments) => index::main(&arguments),
        Command::Spans(arguments) => spans::main(&arguments),
        Command::Child(arguments) => index::child(&arguments),
        Command::Inflate(arguments) => index::inflate(&arguments),
    }
}
