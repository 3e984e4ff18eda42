//! Cold starts over a slow link: a normal pull beside lazy loading, on real containerd, runc and registry.

// This program talks to the person who started it.
#![allow(clippy::print_stdout)]

mod calibrate;
mod chart;
mod cold_start;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use harness::link::Shape;

use crate::cold_start::{Mode, Trial};

/// Starts containers over a slow link, pulled normally and lazily in turn, and prints what each took.
#[derive(Parser)]
struct Arguments {
    /// Images, by their names in tests/harness/image/recipe.rs.
    #[arg(long, value_delimiter = ',', default_values_t = ["python".to_owned(), "jvm".to_owned()])]
    image: Vec<String>,
    /// Speed of the link in Mbit/s.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Round trip of the link in milliseconds.
    #[arg(long, default_value_t = 10)]
    round_trip: u32,
    /// Starts of each kind, in turn; the table shows medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Another snapshotter with the reference's command line, to be measured beside ours.
    #[arg(long, value_name = "NAME=BINARY", value_parser = peer)]
    peer: Option<Mode>,
    /// Write the table as a picture.
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        nix::unistd::geteuid().is_root(),
        "mounting layers and running containers needs root"
    );
    ensure!(
        std::path::Path::new("/dev/fuse").exists(),
        "/dev/fuse is missing: modprobe fuse, or give the container the device"
    );
    ensure!(arguments.runs > 0, "--runs has to be at least 1");
    let shape = Shape {
        delay: Duration::from_millis(u64::from(arguments.round_trip)) / 2,
        rate: u64::from(arguments.rate) * 1_000_000 / 8,
    };
    let link = calibrate::measure(shape)?;
    let mut modes = vec![Mode::Normal, Mode::Lazy];
    modes.extend(arguments.peer);
    let mut rows = Vec::new();
    for image in &arguments.image {
        let mut trials: Vec<Vec<Trial>> = vec![Vec::new(); modes.len()];
        for _ in 0..arguments.runs {
            for (mode, trials) in modes.iter().zip(&mut trials) {
                trials.push(cold_start::run(image, mode, shape)?);
            }
        }
        for (mode, trials) in modes.iter().zip(trials) {
            rows.push(report::Row {
                image: image.clone(),
                mode: mode.name().to_owned(),
                median: report::median(&trials),
            });
        }
    }
    let title = format!(
        "link of {} Mbit/s and {} ms round trip (a plain download: {:.0} Mbit/s, {:.0} ms), median of {}",
        arguments.rate,
        arguments.round_trip,
        link.rate * 8.0 / 1e6,
        link.round_trip.as_secs_f64() * 1e3,
        arguments.runs
    );
    print!("{}", report::table(&title, &rows));
    if let Some(file) = arguments.chart {
        std::fs::write(file, chart::svg(&title, &rows))?;
    }
    Ok(())
}

fn peer(text: &str) -> Result<Mode, String> {
    match text.split_once('=') {
        Some((name, binary)) if !name.is_empty() && !binary.is_empty() => Ok(Mode::Peer {
            name: name.to_owned(),
            binary: binary.into(),
        }),
        _ => Err("a name and a path are needed: NAME=BINARY".to_owned()),
    }
}
