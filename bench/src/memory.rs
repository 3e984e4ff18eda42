//! Memory of the snapshotter under many readers of what is not here yet.

use anyhow::{Result, anyhow};
use harness::image::{Form, Image};

use crate::figures::{self, Figures};
use crate::links::{self, Named};
use crate::machine;
use crate::mode::Mode;
use crate::node::{Node, Site};
use crate::tree::{self, Tree};

/// Memory: readers of cold places, all at the same time.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, default_value = "java")]
    image: String,
    #[arg(long, value_parser = links::parse, default_value = "10ms/400mbit")]
    link: Named,
    #[arg(long, default_value_t = 64)]
    readers: usize,
    #[command(flatten)]
    shape: links::Options,
    #[command(flatten)]
    options: figures::Options,
}

const OFF: &str = "[background_fetch]\ndisable = true\n[profile]\nrecord = false\nuse = false\n";

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!(
        "{} readers of {} over {}; layer.memory is 64 MiB",
        arguments.readers, arguments.image, arguments.link.name
    );
    figures::report("memory", &title, &arguments.options, |figures| {
        measure(arguments, figures)
    })
}

fn measure(arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let image = Image::get(&arguments.image, Form::V2)?;
    let site = Site::new()?;
    site.push(image.name(), &image.layout)?;
    let shape = arguments.link.shape(&arguments.shape);
    let node = Node::start(&site, shape, &Mode::Ours { config: OFF }, image.name())?;
    let pid = node.stack.snapshotter.pid();
    figures.add(
        "before the first pull, resident",
        machine::memory(pid, "VmRSS")? as f64 / 1e6,
        "MB",
    );
    node.pull()?;
    let target = node.stack.directory("view")?;
    node.view(&image, &target)?;
    figures.add(
        "mounted, peak",
        machine::memory(pid, "VmHWM")? as f64 / 1e6,
        "MB",
    );
    let tree = Tree::of(&target)?;
    let places = tree.places(usize::MAX);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..arguments.readers)
            .map(|reader| {
                let own = places.iter().skip(reader).step_by(arguments.readers.max(1));
                scope.spawn(move || {
                    own.clone()
                        .try_for_each(|(path, at)| tree::read_byte(path, *at).map(drop))
                })
            })
            .collect();
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().map_err(|_| anyhow!("a reader panicked"))?)
    })?;
    figures.add(
        format!("after {} reads, peak", places.len()),
        machine::memory(pid, "VmHWM")? as f64 / 1e6,
        "MB",
    );
    figures.add(
        "after them, resident",
        machine::memory(pid, "VmRSS")? as f64 / 1e6,
        "MB",
    );
    figures.add(
        "of that anonymous",
        machine::memory(pid, "RssAnon")? as f64 / 1e6,
        "MB",
    );
    Ok(())
}
