//! Making an index, measured.

use anyhow::Result;

#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn main(_arguments: &Arguments) -> Result<()> {
    anyhow::bail!("not measured yet")
}
