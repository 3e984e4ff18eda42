//! A layer of 200,000 files: mounting it, walking it, and the memory for it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use harness::image::{Form, Image};
use harness::link::Shape;
use harness::snapshots::Snapshots;
use harness::stack::prepare_layers;
use nix::mount::MntFlags;
use nix::sys::signal::Signal;

use crate::figures::{self, Figures};
use crate::machine;
use crate::mode::Mode;
use crate::node::{Node, Site};
use crate::tree::Tree;

/// Many files: a layer of 200,000, mounted with its zTOC here, and walked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "many")]
    image: String,
    #[command(flatten)]
    options: figures::Options,
}

const OFF: &str = "[background_fetch]\ndisable = true\n[profile]\nrecord = false\nuse = false\n";

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!("{}: mounted, walked, restarted", arguments.image);
    figures::report("files", &title, &arguments.options, |figures| {
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
    let mut node = Node::start(&site, shape, &Mode::Ours { config: OFF }, image.name())?;
    let before = Memory::of(&node)?;
    figures.add("before, resident", before.resident, "MB");
    figures.add("of that anonymous", before.anonymous, "MB");
    let pulled = node.pull()?;
    figures.add(
        "pulled, index and zTOCs over loopback",
        pulled.as_secs_f64() * 1e3,
        "ms",
    );
    Memory::of(&node)?.print(figures, "mounted", &before);
    let target = node.stack.directory("view")?;
    node.view(&image, &target)?;
    for what in ["first", "again"] {
        let begin = Instant::now();
        let names = Tree::of(&target)?.paths.len();
        let took = begin.elapsed().as_secs_f64() * 1e3;
        figures.add(format!("walked {names} names, {what}"), took, "ms");
    }
    Memory::of(&node)?.print(figures, "walked", &before);
    nix::mount::umount2(&target, MntFlags::MNT_DETACH)?;
    prepared_again(&node, &image, figures)?;
    started_again(&mut node, image.layers()?.len(), figures)?;
    Memory::of(&node)?.print(figures, "started again", &before);
    Ok(())
}

/// Of the daemon, in MB.
struct Memory {
    resident: f64,
    anonymous: f64,
    peak: f64,
}

impl Memory {
    fn of(node: &Node) -> Result<Self> {
        let pid = node.stack.snapshotter.pid();
        let megabytes = |line| Ok::<_, anyhow::Error>(machine::memory(pid, line)? as f64 / 1e6);
        Ok(Self {
            resident: megabytes("VmRSS")?,
            anonymous: megabytes("RssAnon")?,
            peak: megabytes("VmHWM")?,
        })
    }

    fn print(&self, figures: &mut Figures, when: &str, before: &Self) {
        figures.add(format!("{when}, resident"), self.resident, "MB");
        let more = self.resident - before.resident;
        figures.add("more than before", more, "MB");
        figures.add("of that anonymous", self.anonymous - before.anonymous, "MB");
        figures.add(format!("{when}, peak"), self.peak, "MB");
    }
}

/// The image gone and prepared anew, as containerd would ask for it: its zTOCs are still here.
fn prepared_again(node: &Node, image: &Image, figures: &mut Figures) -> Result<()> {
    // containerd collects what nothing refers to, the view too.
    let remove = ["images", "rm", "--sync", &node.reference];
    node.stack.containerd.run_ctr(&remove)?;
    wait(node, |mounts| mounts == 0)?;
    let daemon = &node.stack.snapshotter;
    let mut snapshots = Snapshots::connect(&daemon.socket(), "default", "soci")?;
    let had = machine::cpu(daemon.pid())?;
    let begin = Instant::now();
    prepare_layers(&mut snapshots, &node.reference, image)?;
    let took = begin.elapsed().as_secs_f64() * 1e3;
    figures.add(
        "first Prepare until the last is answered, zTOCs here",
        took,
        "ms",
    );
    let cpu = machine::cpu(daemon.pid())?.saturating_sub(had);
    figures.add("CPU for that", cpu.as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// From the records and zTOCs of an earlier process.
fn started_again(node: &mut Node, layers: usize, figures: &mut Figures) -> Result<()> {
    node.stack.snapshotter.stop(Signal::SIGTERM)?;
    let begin = Instant::now();
    node.stack.snapshotter.restart()?;
    wait(node, |mounts| mounts == layers)?;
    // Looked at every 10 ms.
    let took = begin.elapsed().as_secs_f64() * 1e3;
    let cpu = machine::cpu(node.stack.snapshotter.pid())?;
    let lines = node.stack.snapshotter.log_lines();
    let mut restored = lines.iter().filter_map(|line| line.get("restored_in_us"));
    let restored = restored.next_back().and_then(serde_json::Value::as_f64);
    let restored = restored.context("the daemon does not say when it was ready")? / 1e3;
    let what = "started again, from records and zTOCs until all is mounted";
    figures.add(what, restored, "ms");
    figures.add("from the start of the process", took, "ms");
    figures.add("CPU of the process", cpu.as_secs_f64() * 1e3, "ms");
    Ok(())
}

/// Until so many layers are mounted.
fn wait(node: &Node, enough: impl Fn(usize) -> bool) -> Result<()> {
    let begin = Instant::now();
    while !enough(node.stack.snapshotter.lazy_mounts()?.len()) {
        ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "not mounted, or not unmounted:\n{}",
            node.stack.logs()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
