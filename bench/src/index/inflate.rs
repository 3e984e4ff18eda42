//! Inflating layers with the decoder that builds zTOCs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use soci::build::Inflating;

/// Inflates layers, one after the other, and does nothing with what comes out.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    layers: Vec<PathBuf>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    println!("{}", tar_len(&arguments.layers)?);
    Ok(())
}

/// Bytes of tar in gzip layers.
pub(super) fn tar_len(layers: &[PathBuf]) -> Result<u64> {
    layers.iter().map(|layer| inflated(layer)).sum()
}

fn inflated(layer: &Path) -> Result<u64> {
    let mut file = File::open(layer)?;
    let mut inflating = Inflating::default();
    let mut piece = vec![0; 256 << 10];
    loop {
        let read = file.read(&mut piece)?;
        if read == 0 {
            break;
        }
        inflating.push(piece.get(..read).context("read beyond the buffer")?)?;
    }
    Ok(inflating.finish()?)
}
