//! Reading what is not here: one byte somewhere, and a file in order.

use anyhow::Result;
use harness::image::{Form, Image};

use crate::figures::{self, Figures};
use crate::links::{self, Named};
use crate::mode::{self, Mode};
use crate::node::{Node, Site};
use crate::stats::percentile;
use crate::tree::{self, Tree};

/// First reads: a byte at cold places, and a cold file in order.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "java")]
    image: String,
    #[arg(long, value_parser = links::parse, default_value = "10ms/400mbit")]
    link: Named,
    /// Places that are read, each in a span of its own where there are so many
    #[arg(long, default_value_t = 40)]
    reads: usize,
    /// Another snapshotter with the reference's command line
    #[arg(long, value_name = "NAME=BINARY", value_parser = mode::peer, env = "SOCI_BENCH_PEER")]
    peer: Option<Mode>,
    #[command(flatten)]
    shape: links::Options,
    #[command(flatten)]
    options: figures::Options,
}

/// Milliseconds of each read, sorted, and megabytes a second.
type Measured = (Vec<f64>, f64);

const OFF: &str = "[background_fetch]\ndisable = true\n[profile]\nrecord = false\nuse = false\n";

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!(
        "Cold reads of {} over {}",
        arguments.image, arguments.link.name
    );
    figures::report("first-read", &title, &arguments.options, |figures| {
        measure(arguments, figures)
    })
}

fn measure(arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let image = Image::get(&arguments.image, Form::V2)?;
    let site = Site::new()?;
    site.push(image.name(), &image.layout)?;
    let one = |mode: &Mode| -> Result<Measured> {
        let shape = arguments.link.shape(&arguments.shape);
        let mounted = || -> Result<_> {
            let node = Node::start(&site, shape, mode, image.name())?;
            node.pull()?;
            let target = node.stack.directory("view")?;
            node.view(&image, &target)?;
            Ok((Tree::of(&target)?, node))
        };
        let (tree, node) = mounted()?;
        let mut waits = Vec::new();
        for (path, at) in tree.places(arguments.reads) {
            waits.push(tree::read_byte(path, at)?.as_secs_f64() * 1e3);
        }
        waits.sort_by(f64::total_cmp);
        drop(node);
        let (tree, _node) = mounted()?;
        let (path, size) = tree.largest()?;
        let took = tree::time(|| tree::read(path, &mut vec![0; 1 << 20]))?;
        Ok((waits, size as f64 / 1e6 / took.as_secs_f64()))
    };
    let ours = one(&Mode::Ours { config: OFF })?;
    let peer = match &arguments.peer {
        Some(peer) => Some((peer.name(), one(peer)?)),
        None => None,
    };
    let mut add = |what: String, unit, of: &dyn Fn(&Measured) -> f64| match &peer {
        Some((name, theirs)) => figures.against(what, of(&ours), unit, name, of(theirs)),
        None => figures.add(what, of(&ours), unit),
    };
    for share in [0.5, 0.99] {
        let what = format!(
            "a byte at a cold place, p{:.0} of {}",
            share * 100.0,
            ours.0.len()
        );
        add(what, "ms", &|(waits, _)| {
            percentile(waits, share).unwrap_or(f64::NAN)
        });
    }
    add(
        "the largest file in order, uncompressed".to_owned(),
        "MB/s",
        &|(_, rate)| *rate,
    );
    Ok(())
}
