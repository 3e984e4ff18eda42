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

/// `layer.memory`, as it is by default.
const BOUND: f64 = 64.0 * 1024.0 * 1024.0;
const OFF: &str = "[background_fetch]\ndisable = true\n[profile]\nrecord = false\nuse = false\n";

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!(
        "{} readers of {} over {}",
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
    let tree = Tree::of(&target)?;
    let places = tree.places(usize::MAX);
    let mounted = machine::memory(pid, "VmRSS")? as f64;
    figures.add("mounted, resident", mounted / 1e6, "MB");
    // From here on the peak is that of the reads.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
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
    let peak = machine::memory(pid, "VmHWM")? as f64;
    let what = format!("during {} reads, peak", places.len());
    figures.add(what, peak / 1e6, "MB");
    figures.against(
        "of that for the reads",
        (peak - mounted) / 1e6,
        "MB",
        "the bound, layer.memory",
        BOUND / 1e6,
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
