//! Cold starts: every mode in turn, on every image and link, made into a table, a file and a picture.

mod bound;
mod cell;
mod chart;
mod prepare;
mod requests;
mod session;
mod table;
mod trial;

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::Serialize;

use crate::links::{self, Named, Options};
use crate::mode::{self, Mode};
use cell::Cell;
use session::Session;

/// Cold starts: overlayfs, other snapshotters and ours in turn.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images, by their names in tests/harness/image: small (1 MB), shell, java, numpy, node, web (nginx), deep (30 layers), many
    /// (200,000 files in a layer), ml (1 GB; minutes to make)
    #[arg(long, value_delimiter = ',', default_values_t = ["java", "numpy", "node"].map(str::to_owned))]
    image: Vec<String>,
    /// Links
    #[arg(long, value_delimiter = ',', value_parser = links::parse, default_value = "10ms/400mbit")]
    link: Vec<Named>,
    #[command(flatten)]
    shape: Options,
    /// Starts of each kind that count, in turn; the table shows medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..1000))]
    runs: u32,
    /// Another snapshotter with the reference's command line, on the same index
    #[arg(long, value_name = "NAME=BINARY", value_parser = mode::peer, env = "SOCI_BENCH_PEER")]
    peer: Vec<Mode>,
    /// Also ours with the profile of an earlier start, and on an index cut by that profile
    #[arg(long)]
    profiles: bool,
    /// No overlayfs: only lazy starts, and no bound
    #[arg(long)]
    lazy_only: bool,
    /// Wait so many seconds after each start for the rest of the layers
    #[arg(long, default_value_t = 0)]
    complete: u64,
    /// Print what was asked of the registry in each start, and when
    #[arg(long)]
    requests: bool,
    /// Print figures from a busy machine too, marked as such
    #[arg(long)]
    busy_ok: bool,
    /// Write cold.md, cold.json and cold.svg here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Record<'a> {
    title: String,
    slow_start: bool,
    redirect: bool,
    runs: u32,
    cells: &'a [Cell],
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let session = Session::new(arguments)?;
    let mut cells = Vec::new();
    let mut failed = None;
    'all: for link in &arguments.link {
        for image in &arguments.image {
            match session.image(image, link) {
                Ok(more) => cells.extend(more),
                Err(error) => {
                    // What was measured before it is worth keeping.
                    failed = Some(error.context(format!("{image} over {}", link.name)));
                    break 'all;
                }
            }
        }
    }
    if !cells.is_empty() {
        report(arguments, &cells)?;
    }
    failed.map_or(Ok(()), Err)
}

fn report(arguments: &Arguments, cells: &[Cell]) -> Result<()> {
    let title = title(arguments, cells);
    let text = format!(
        "{title}\n\n{}\n{}",
        table::markdown(cells),
        table::bounds(cells)
    );
    println!("{text}");
    let Some(dir) = &arguments.out else {
        return Ok(());
    };
    std::fs::create_dir_all(dir)?;
    let record = Record {
        title: title.clone(),
        slow_start: arguments.shape.slow_start,
        redirect: arguments.shape.redirect,
        runs: arguments.runs,
        cells,
    };
    let write = |name: &str, text: &str| std::fs::write(Path::new(dir).join(name), text);
    write("cold.md", &text)?;
    write("cold.json", &serde_json::to_string_pretty(&record)?)?;
    write("cold.svg", &chart::svg(&title, cells))?;
    Ok(())
}

fn title(arguments: &Arguments, cells: &[Cell]) -> String {
    let noise = cells
        .iter()
        .fold(crate::machine::Noise::default(), |worst, cell| {
            worst.worst(cell.noise)
        });
    let busy = if noise.is_busy() {
        "BUSY MACHINE, figures of no worth: "
    } else {
        ""
    };
    format!(
        "{busy}medians of {}; the link has {}{}; others took at most {:.0} %, the hypervisor {:.1} % of the machine",
        arguments.runs,
        if arguments.shape.slow_start {
            "slow start"
        } else {
            "no slow start"
        },
        if arguments.shape.redirect {
            " and redirects blobs"
        } else {
            ""
        },
        noise.others * 100.0,
        noise.steal * 100.0,
    )
}
