//! A layer of 200,000 files: mounting it, walking it, and the memory for it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::image::{Form, Image};
use harness::link::Shape;
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
    let megabytes = |node: &Node, line| -> Result<f64> {
        Ok(machine::memory(node.stack.snapshotter.pid(), line)? as f64 / 1e6)
    };
    let idle = megabytes(&node, "VmRSS")?;
    figures.add("before, resident", idle, "MB");
    figures.add(
        "pulled, index and zTOCs over loopback",
        node.pull()?.as_secs_f64() * 1e3,
        "ms",
    );
    figures.add("mounted, peak", megabytes(&node, "VmHWM")?, "MB");
    figures.add("mounted, resident", megabytes(&node, "VmRSS")?, "MB");
    figures.add("of that anonymous", megabytes(&node, "RssAnon")?, "MB");
    let target = node.stack.directory("view")?;
    node.view(&image, &target)?;
    for (n, what) in ["first", "again"].into_iter().enumerate() {
        let begin = Instant::now();
        let names = Tree::of(&target)?.paths.len();
        let took = begin.elapsed().as_secs_f64() * 1e3;
        figures.add(format!("walked {names} names, {what}"), took, "ms");
        if n == 1 {
            figures.add("walked, resident", megabytes(&node, "VmRSS")?, "MB");
        }
    }
    nix::mount::umount2(&target, nix::mount::MntFlags::MNT_DETACH)?;
    let layers = image.layers()?.len();
    let cpu_of_nothing = restarted(&mut node, layers)?;
    figures.add(
        "started again until all is mounted, zTOCs here",
        cpu_of_nothing.0,
        "ms",
    );
    figures.add("CPU for that", cpu_of_nothing.1, "ms");
    figures.add("started again, peak", megabytes(&node, "VmHWM")?, "MB");
    figures.add("started again, resident", megabytes(&node, "VmRSS")?, "MB");
    Ok(())
}

/// Milliseconds from the start of the process until every layer is mounted, and of its own time.
fn restarted(node: &mut Node, layers: usize) -> Result<(f64, f64)> {
    node.stack.snapshotter.stop(Signal::SIGTERM)?;
    let begin = Instant::now();
    node.stack.snapshotter.restart()?;
    while node.stack.snapshotter.lazy_mounts()?.len() < layers {
        ensure!(
            begin.elapsed() < Duration::from_secs(30),
            "not mounted again:\n{}",
            node.stack.logs()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed().as_secs_f64() * 1e3;
    let cpu = machine::cpu(node.stack.snapshotter.pid())?;
    Ok((took, cpu.as_secs_f64() * 1e3))
}
