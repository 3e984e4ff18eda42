//! What each command does.

mod build;
mod completions;
mod convert;
mod create;
mod diff;
mod index;
mod indexes;
mod local;
mod man;
mod places;
mod prefetch;
mod profiles;
mod publish;
mod push;
mod rebuild;
mod report;
mod standalone;
mod verify;
mod writing;
mod ztoc;

use crate::args::{Cli, Command};
use crate::error::Error;
use crate::output::Output;

pub(crate) async fn run(cli: Cli) -> Result<(), Error> {
    let global = cli.global;
    let output = Output {
        quiet: global.quiet,
        json: global.json,
    };
    match cli.command {
        Command::Create(args) => create::run(&global, output, args).await,
        Command::Convert(args) if args.standalone => standalone::run(output, args).await,
        Command::Convert(args) => convert::run(&global, output, args).await,
        Command::Push(args) => push::run(&global, output, args).await,
        Command::Publish(args) => publish::run(output, args).await,
        Command::Verify(args) => verify::run(&global, output, args).await,
        Command::Diff(args) => diff::run(&global, output, args).await,
        Command::Index(args) => index::run(&global, output, args).await,
        Command::Ztoc(args) => ztoc::run(&global, output, args).await,
        Command::Prefetch(args) => prefetch::run(&global, output, args).await,
        Command::RebuildDb(_) => rebuild::run(&global, output).await,
        Command::Completions(args) => completions::run(args.shell),
        Command::Man(args) => man::run(&args.directory),
    }
}
