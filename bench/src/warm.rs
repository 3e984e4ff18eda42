//! Files that have been read once: through our mounts, and on plain files unpacked by containerd.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use harness::image::{Form, Image};
use harness::link::Shape;

use crate::figures::{self, Figures};
use crate::machine;
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
    let view = |node: &Node, target: &Path| -> Result<[Place; 2]> {
        node.pull()?;
        let layers = node.view(&image, target)?;
        let whole = Place::of(vec![target.to_owned()])?;
        Ok([whole, Place::of(layers)?])
    };
    let [a, a_layers] = view(&ours, &a)?;
    let [b, b_layers] = view(&plain, &b)?;
    ensure!(
        a.tree.paths.len() == b.tree.paths.len(),
        "two trees that differ"
    );
    // The first touch.
    for place in [&a, &b, &a_layers, &b_layers] {
        for (what, _) in WORK {
            place.work(what)?;
        }
    }
    let daemon = ours.stack.snapshotter.pid();
    let messages = || machine::wakes(daemon, FUSE_THREAD);
    let had = messages()?;
    for (what, label) in WORK {
        compare(figures, arguments.rounds, format!("{label}, warm"), |n| {
            [&a, &b].get(n).unwrap_or(&&a).work(what)
        })?;
    }
    // The same names without an overlay tell what of it is the kernel's FUSE and what is overlayfs on top of it.
    for (what, label) in WORK {
        compare(
            figures,
            arguments.rounds,
            format!("{label}, warm, layers without overlay"),
            |n| {
                [&a_layers, &b_layers]
                    .get(n)
                    .unwrap_or(&&a_layers)
                    .work(what)
            },
        )?;
    }
    figures.add(
        "messages to the daemon for all of the above (each find asks for the size of the filesystem)",
        messages()?.saturating_sub(had) as f64,
        "",
    );
    for (what, label) in WORK {
        compare(
            figures,
            arguments.rounds,
            format!("{label}, page cache dropped"),
            |n| {
                drop_page_cache()?;
                [&a, &b].get(n).unwrap_or(&&a).work(what)
            },
        )?;
    }
    Ok(())
}

/// What a mount's thread is called.
const FUSE_THREAD: &str = "soci-fuse";

/// Directories and what is in them.
struct Place {
    roots: Vec<PathBuf>,
    tree: Tree,
}

impl Place {
    fn of(roots: Vec<PathBuf>) -> Result<Self> {
        Ok(Self {
            tree: Tree::of_all(&roots)?,
            roots,
        })
    }

    /// Seconds.
    fn work(&self, what: Work) -> Result<f64> {
        work(what, &self.roots, &self.tree)
    }
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

fn work(what: Work, roots: &[PathBuf], tree: &Tree) -> Result<f64> {
    let mut buffer = vec![0; 1 << 20];
    let took = tree::time(|| {
        match what {
            Work::Find => {
                let status = Command::new("find")
                    .args(roots)
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
