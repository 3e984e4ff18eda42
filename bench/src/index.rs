//! Indexing images in files: what it takes, beside the original and beside inflating alone.

mod child;
mod inflate;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use harness::command::built;
use harness::image::{Form, Image};
use harness::scratch::Scratch;

use crate::figures::{self, Figures};
use crate::mode::{self, Mode};
use crate::stats;
use child::Took;

pub(crate) use child::{Arguments as Child, main as child};
pub(crate) use inflate::{Arguments as Inflate, main as inflate};

/// Indexing: `soci convert --standalone` from an archive to an archive, all layers, on this machine's disk.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images
    #[arg(long, value_delimiter = ',', default_value = "java,numpy,deep,many")]
    image: Vec<String>,
    /// Of each tool on each image, in turns; medians count
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// A `soci` of the original's that knows `convert --standalone`; may be repeated
    #[arg(long, value_name = "NAME=BINARY", value_parser = mode::peer)]
    peer: Vec<Mode>,
    #[command(flatten)]
    options: figures::Options,
}

/// A program that is measured.
struct Tool {
    name: String,
    command: Vec<OsString>,
    /// What it writes.
    output: Option<PathBuf>,
    runs: Vec<Took>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!(
        "soci convert --standalone --min-layer-size 0, archive to archive; medians of {} runs in turns",
        arguments.runs
    );
    figures::report("index", &title, &arguments.options, |figures| {
        let mut images = arguments.image.iter();
        images.try_for_each(|name| measure(name, arguments, figures))
    })
}

fn measure(name: &str, arguments: &Arguments, figures: &mut Figures) -> Result<()> {
    let image = Image::get(name, Form::Plain)?;
    let scratch = Scratch::on_disk()?;
    let archive = scratch.path().join("image.tar");
    image.layout.archive(&archive)?;

    let mut ours = Tool::converting("soci-rs", &built("SOCI", "soci")?, &archive);
    let mut alone = Tool::of_layers("inflating alone", &[], &image)?;
    let mut ztocs = Tool::of_layers("zTOCs alone", &["--ztoc"], &image)?;
    let mut peers = Vec::new();
    for peer in &arguments.peer {
        let binary = peer.binary().context("a peer without a binary")?;
        peers.push(Tool::converting(peer.name(), binary, &archive));
    }
    for _ in 0..arguments.runs.max(1) {
        let own = [&mut ours, &mut alone, &mut ztocs];
        for tool in own.into_iter().chain(&mut peers) {
            tool.run(scratch.path())?;
        }
    }
    let tar = inflate::tar_len(&blobs(&image)?)? as f64 / 1e6;
    let mut row =
        |what: &str, unit, value: &dyn Fn(&Tool) -> Result<f64>, beside: &[&Tool]| -> Result<()> {
            let what = format!("{name}, {what}");
            if beside.is_empty() {
                figures.add(&what, value(&ours)?, unit);
            }
            for other in beside {
                figures.against(&what, value(&ours)?, unit, &other.name, value(other)?);
            }
            Ok(())
        };
    let peers: Vec<&Tool> = peers.iter().collect();
    let all: Vec<&Tool> = std::iter::once(&alone)
        .chain(peers.iter().copied())
        .collect();
    row("CPU", "s", &|tool| tool.median(|took| took.cpu), &all)?;
    let rate = |tool: &Tool| Ok(tar / tool.median(|took| took.cpu)?);
    row(
        &format!("of {tar:.0} MB of tar, a CPU-second"),
        "MB",
        &rate,
        &all,
    )?;
    row("wall", "s", &|tool| tool.median(|took| took.wall), &peers)?;
    let cores = |tool: &Tool| tool.median(|took| took.cpu / took.wall);
    row("cores busy", "", &cores, &peers)?;
    let peak = |tool: &Tool| tool.median(|took| took.peak as f64 / 1e6);
    row("peak memory", "MB", &peak, &peers)?;
    let written = |tool: &Tool| tool.median(|took| took.written as f64 / 1e6);
    row("written to disk", "MB", &written, &peers)?;
    let what = format!("{name}, CPU of the zTOCs without the image's copy");
    let cpu = |tool: &Tool| tool.median(|took| took.cpu);
    figures.against(what, cpu(&ztocs)?, "s", &alone.name, cpu(&alone)?);
    Ok(())
}

/// The layers of an image.
fn blobs(image: &Image) -> Result<Vec<PathBuf>> {
    let layers = image.layers()?;
    Ok(layers
        .iter()
        .map(|layer| image.layout.path(&layer.digest))
        .collect())
}

impl Tool {
    /// This program, as a child, on one thread: what no tool can leave out.
    fn of_layers(name: &str, flags: &[&str], image: &Image) -> Result<Self> {
        let this = std::env::current_exe()?;
        let mut command = vec![this.into_os_string(), "inflate".into()];
        command.extend(flags.iter().map(OsString::from));
        command.extend(blobs(image)?.into_iter().map(PathBuf::into_os_string));
        Ok(Self {
            name: name.to_owned(),
            command,
            output: None,
            runs: Vec::new(),
        })
    }

    fn converting(name: &str, binary: &Path, archive: &Path) -> Self {
        let output = archive.with_file_name("converted.tar");
        let words = ["convert", "--standalone", "--min-layer-size", "0"];
        let mut command = vec![binary.as_os_str().to_owned()];
        command.extend(words.map(OsString::from));
        command.extend([archive, &output].map(|path| path.as_os_str().to_owned()));
        Self {
            name: name.to_owned(),
            command,
            output: Some(output),
            runs: Vec::new(),
        }
    }

    fn run(&mut self, scratch: &Path) -> Result<()> {
        let took = child::run(&self.command, scratch)
            .with_context(|| format!("{}: {:?}", self.name, self.command))?;
        if let Some(output) = &self.output {
            let len = std::fs::metadata(output)?.len();
            ensure!(
                took.written >= len,
                "{} is not on a disk: set TMPDIR",
                output.display()
            );
            std::fs::remove_file(output)?;
        }
        self.runs.push(took);
        Ok(())
    }

    fn median(&self, value: impl Fn(&Took) -> f64) -> Result<f64> {
        let spread = stats::spread(self.runs.iter().map(value));
        Ok(spread.context("no run")?.median)
    }
}
