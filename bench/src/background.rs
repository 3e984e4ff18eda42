//! Filling layers in the background: how fast, and what a reader notices of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::image::{Form, Image};

use crate::figures::{self, Figures};
use crate::links::{self, Named};
use crate::mode::Mode;
use crate::node::{Node, Site};
use crate::stats::percentile;
use crate::tree::{self, Tree};

/// Background: time until all layers are here, and a reader's waits with and without it.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "java")]
    image: String,
    #[arg(long, value_parser = links::parse, default_value = "10ms/400mbit")]
    link: Named,
    /// Reads that are timed, at places far from each other
    #[arg(long, default_value_t = 30)]
    reads: usize,
    #[command(flatten)]
    shape: links::Options,
    #[command(flatten)]
    options: figures::Options,
}

const OFF: &str = "[background_fetch]\ndisable = true\n[profile]\nrecord = false\nuse = false\n";
const AT_ONCE: &str = "[background_fetch]\nsilence_period_msec = 0\nfetch_period_msec = 0\n[profile]\nrecord = false\nuse = false\n";

const LIMIT: Duration = Duration::from_secs(300);

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!(
        "{} in the background over {}",
        arguments.image, arguments.link.name
    );
    figures::report("background", &title, &arguments.options, |figures| {
        measure(arguments, figures)
    })
}

fn measure(arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let image = Image::get(&arguments.image, Form::V2)?;
    let site = Site::new()?;
    site.push(image.name(), &image.layout)?;
    let shape = arguments.link.shape(&arguments.shape);
    let whole: u64 = image.layers()?.iter().map(|layer| layer.size).sum();
    let start = |config| -> Result<Node> {
        let node = Node::start(&site, shape, &Mode::Ours { config }, image.name())?;
        node.pull()?;
        Ok(node)
    };

    let node = start(AT_ONCE)?;
    let (begin, had) = (Instant::now(), node.link.counts().down);
    while node.link.counts().down < whole {
        ensure!(
            begin.elapsed() < LIMIT,
            "not complete after {LIMIT:?}:\n{}",
            node.stack.logs()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let rate = whole.saturating_sub(had) as f64 / begin.elapsed().as_secs_f64();
    let free = arguments.link.rate as f64 / 1e6;
    figures.against(
        "background, bytes of layers",
        rate / 1e6,
        "MB/s",
        "the link",
        free,
    );
    drop(node);

    let waits = |config| -> Result<Vec<f64>> {
        let node = start(config)?;
        let target = node.stack.directory("view")?;
        node.view(&image, &target)?;
        let tree = Tree::of(&target)?;
        let mut waits = Vec::new();
        for (path, at) in tree.places(arguments.reads) {
            waits.push(tree::read_byte(path, at)?.as_secs_f64() * 1e3);
        }
        waits.sort_by(f64::total_cmp);
        Ok(waits)
    };
    let (alone, beside) = (waits(OFF)?, waits(AT_ONCE)?);
    for share in [0.5, 0.99] {
        let of = |waits: &[f64]| percentile(waits, share).unwrap_or(f64::NAN);
        figures.against(
            format!(
                "first read beside the background, p{:.0} of {}",
                share * 100.0,
                beside.len()
            ),
            of(&beside),
            "ms",
            "without",
            of(&alone),
        );
    }
    Ok(())
}
