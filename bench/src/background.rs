//! Filling layers in the background: what share of a free link it uses, and what a reader notices of it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::image::{Form, Image};

use crate::calibrate;
use crate::figures::{self, Figures};
use crate::links::{self, Named};
use crate::machine;
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
    #[arg(long, default_value_t = 40)]
    reads: usize,
    /// How often the reads are timed, each time on a new node
    #[arg(long, default_value_t = 2)]
    rounds: usize,
    #[command(flatten)]
    shape: links::Options,
    #[command(flatten)]
    options: figures::Options,
}

const OFF: &str = "[background_fetch]\ndisable = true\n[profile]\nrecord = false\nuse = false\n";
const AT_ONCE: &str = "[background_fetch]\nsilence_period_msec = 0\nfetch_period_msec = 0\n[profile]\nrecord = false\nuse = false\n";

const LIMIT: Duration = Duration::from_secs(300);
/// Between two reads: the background begins again 0.1 s after a reader has waited, and fills the link before the next one comes.
const PAUSE: Duration = Duration::from_millis(150);

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
    let start = |config| -> Result<Node> {
        let node = Node::start(&site, shape, &Mode::Ours { config }, image.name())?;
        node.pull()?;
        Ok(node)
    };

    let (rate, cpu) = filling(&image, &start(AT_ONCE)?)?;
    let plain = calibrate::measure(shape)?.rate;
    let link = arguments.link.rate as f64;
    let what = "the background with nobody reading";
    figures.against(what, rate / 1e6, "MB/s", "the link", link / 1e6);
    figures.against(what, rate / 1e6, "MB/s", "a plain download", plain / 1e6);
    figures.add("share of the free bandwidth", rate / link * 100.0, "%");
    figures.add("one core taken by the snapshotter", cpu * 100.0, "%");

    let (mut alone, mut beside, mut here) = (Vec::new(), Vec::new(), 0);
    for _ in 0..arguments.rounds {
        let without = waits(arguments, &image, &start(OFF)?)?;
        let with = waits(arguments, &image, &start(AT_ONCE)?)?;
        for (without, with) in without.into_iter().zip(with) {
            // What the background had brought before is no wait.
            if with < arguments.link.round_trip.as_secs_f64() * 1e3 {
                here += 1;
                continue;
            }
            alone.push(without);
            beside.push(with);
        }
    }
    for waits in [&mut alone, &mut beside] {
        waits.sort_by(f64::total_cmp);
    }
    for share in [0.5, 0.9, 0.99] {
        let of = |waits: &[f64]| percentile(waits, share).unwrap_or(f64::NAN);
        figures.against(
            format!(
                "a reader beside the background, p{:.0} of {}",
                share * 100.0,
                beside.len()
            ),
            of(&beside),
            "ms",
            "without it",
            of(&alone),
        );
    }
    figures.add("reads that the background had served", f64::from(here), "");
    Ok(())
}

/// Bytes a second until all layers are here, and the snapshotter's share of a core meanwhile.
fn filling(image: &Image, node: &Node) -> Result<(f64, f64)> {
    let cpu = || machine::cpu(node.stack.snapshotter.pid());
    let used = cpu()?;
    let whole: u64 = image.layers()?.iter().map(|layer| layer.size).sum();
    let (begin, had) = (Instant::now(), node.link.counts().down);
    while node.link.counts().down < whole {
        ensure!(
            begin.elapsed() < LIMIT,
            "not complete after {LIMIT:?}:\n{}",
            node.stack.logs()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = begin.elapsed().as_secs_f64();
    let used = cpu()?.saturating_sub(used).as_secs_f64();
    Ok((whole.saturating_sub(had) as f64 / took, used / took))
}

/// Milliseconds of each read.
fn waits(arguments: &Arguments, image: &Image, node: &Node) -> Result<Vec<f64>> {
    let target = node.stack.directory("view")?;
    node.view(image, &target)?;
    let tree = Tree::of(&target)?;
    let places = tree.places(arguments.reads);
    let wait = |&(path, at): &(&std::path::Path, u64)| {
        std::thread::sleep(PAUSE);
        Ok(tree::read_byte(path, at)?.as_secs_f64() * 1e3)
    };
    places.iter().map(wait).collect()
}
