//! `man`: a page for each command, from the flags as they are.

use std::path::Path;

use clap::CommandFactory;

use crate::args::Cli;
use crate::error::Error;

pub(super) fn run(directory: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(directory).map_err(Error::file(directory))?;
    let command = Cli::command().disable_help_subcommand(true);
    clap_mangen::generate_to(command, directory).map_err(Error::file(directory))
}
