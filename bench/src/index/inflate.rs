//! Layers inflated, or indexed, in this program: without the rest of an image and its copy.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use soci::build::{BuildOptions, Builder, Compression, Cuts, Inflating};

/// Inflates layers, one after the other, and does nothing with what comes out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build their zTOCs, too, and do nothing with those
    #[arg(long)]
    ztoc: bool,
    layers: Vec<PathBuf>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    if arguments.ztoc {
        return arguments.layers.iter().try_for_each(|layer| index(layer));
    }
    println!("{}", tar_len(&arguments.layers)?);
    Ok(())
}

/// Bytes of tar in gzip layers.
pub(super) fn tar_len(layers: &[PathBuf]) -> Result<u64> {
    layers.iter().map(|layer| inflated(layer)).sum()
}

fn inflated(layer: &Path) -> Result<u64> {
    let mut inflating = Inflating::default();
    pieces(layer, |piece| Ok(inflating.push(piece)?))?;
    Ok(inflating.finish()?)
}

fn index(layer: &Path) -> Result<()> {
    let mut builder = Builder::new(&BuildOptions {
        cuts: Cuts::every(4 << 20),
        build_tool: String::new(),
        compression: Compression::Gzip,
    })?;
    pieces(layer, |piece| Ok(builder.push(piece)?))?;
    println!("{}", builder.finish()?.digest);
    Ok(())
}

fn pieces(layer: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut file = File::open(layer)?;
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        each(piece.get(..read).context("read beyond the buffer")?)?;
    }
}
