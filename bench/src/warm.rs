//! Files that have been read once: through our mounts, and on plain files unpacked by containerd.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use harness::image::{Form, Image};
use harness::link::Shape;

use crate::figures::{self, Figures};
use crate::mode::Mode;
use crate::node::{Node, Site, drop_page_cache};
use crate::stats::spread;
use crate::tree::{self, Tree};

/// Warm files: find, stat, small files and a large one, against overlayfs on ext4.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "numpy")]
    image: String,
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    #[command(flatten)]
    options: figures::Options,
}

const SMALL: usize = 4000;

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!(
        "Files of {} by soci-rs and by overlayfs on ext4, medians of {} in turn",
        arguments.image, arguments.rounds
    );
    figures::report("warm", &title, &arguments.options, |figures| {
        measure(arguments, figures)
    })
}

fn measure(arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let image = Image::get(&arguments.image, Form::V2)?;
    let site = Site::new()?;
    site.push(image.name(), &image.layout)?;
    let shape = Shape {
        rate: 1 << 30,
        ..Shape::default()
    };
    let mode = Mode::Ours { config: "" };
    let ours = Node::start(&site, shape, &mode, image.name())?;
    let plain = Node::start(&site, shape, &Mode::Overlayfs, image.name())?;
    let [a, b] = [
        ours.stack.directory("view-ours")?,
        plain.stack.directory("view-plain")?,
    ];
    for (node, target) in [(&ours, &a), (&plain, &b)] {
        node.pull()?;
        node.view(&image, target)?;
    }
    let trees = [(a.as_path(), Tree::of(&a)?), (b.as_path(), Tree::of(&b)?)];
    let [(_, one), (_, other)] = &trees;
    ensure!(
        one.paths.len() == other.paths.len(),
        "two trees that differ"
    );
    // The first touch.
    for (root, tree) in &trees {
        for (what, _) in WORK {
            work(what, root, tree)?;
        }
    }
    for (what, label) in WORK {
        compare(figures, arguments.rounds, format!("{label}, warm"), |n| {
            let (root, tree) = trees.get(n).unwrap_or(&trees[0]);
            work(what, root, tree)
        })?;
    }
    for (what, label) in WORK {
        compare(
            figures,
            arguments.rounds,
            format!("{label}, page cache dropped"),
            |n| {
                drop_page_cache()?;
                let (root, tree) = trees.get(n).unwrap_or(&trees[0]);
                work(what, root, tree)
            },
        )?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Work {
    Find,
    Stat,
    Small,
    Large,
}

const WORK: [(Work, &str); 4] = [
    (Work::Find, "find"),
    (Work::Stat, "stat of every name"),
    (Work::Small, "4,000 small files"),
    (Work::Large, "the largest file, in order"),
];

/// Seconds.
fn work(what: Work, root: &Path, tree: &Tree) -> Result<f64> {
    let mut buffer = vec![0; 1 << 20];
    let took = tree::time(|| {
        match what {
            Work::Find => {
                let status = Command::new("find")
                    .arg(root)
                    .args(["-size", "+1G"])
                    .stdout(Stdio::null())
                    .status()?;
                ensure!(status.success(), "find: {status}");
            }
            Work::Stat => tree
                .paths
                .iter()
                .try_for_each(|path| path.symlink_metadata().map(drop))?,
            Work::Small => tree
                .small(SMALL)
                .iter()
                .try_for_each(|path| tree::read(path, &mut buffer))?,
            Work::Large => tree::read(tree.largest()?.0, &mut buffer)?,
        }
        Ok(())
    })?;
    Ok(took.as_secs_f64())
}

fn compare(
    figures: &mut Figures,
    rounds: u32,
    label: String,
    mut run: impl FnMut(usize) -> Result<f64>,
) -> Result<()> {
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (n, times) in times.iter_mut().enumerate() {
            times.push(run(n)? * 1e3);
        }
    }
    let [ours, plain] = times.map(|times| spread(times).map_or(f64::NAN, |spread| spread.median));
    figures.against(label, ours, "ms", "overlayfs", plain);
    Ok(())
}
