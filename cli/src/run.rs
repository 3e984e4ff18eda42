//! One command from the command line to its exit code.

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::commands;
use crate::error::Error;
use crate::exit;

/// `arguments` begin with the name of the program.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not errors.
            let _ = error.print();
            let code = u8::try_from(error.exit_code()).unwrap_or(2);
            return ExitCode::from(code);
        }
    };
    log(&cli);
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(stderr(), "soci: {error}");
            exit::code(&error)
        }
    }
}

/// Nothing without being asked: a caller may not read stderr before stdout has ended.
fn log(cli: &Cli) {
    let registry = match &cli.command {
        Command::Push(args) => Some(&args.registry),
        Command::Publish(args) => Some(&args.registry),
        Command::Verify(args) => Some(&args.registry),
        Command::Diff(args) => Some(&args.registry),
        _ => None,
    };
    let is_dumped = registry.is_some_and(|flags| flags.http_dump || flags.http_trace);
    let filter = match (cli.global.debug, is_dumped) {
        (true, _) => "cli=debug,registry=debug,soci=debug",
        (false, true) => "registry=debug",
        (false, false) => return,
    };
    let filter = std::env::var("RUST_LOG").map_or(EnvFilter::new(filter), EnvFilter::new);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr);
    // Another one is there when commands run within a test.
    let _ = subscriber.try_init();
}

fn run(cli: Cli) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Error::file("runtime"))?;
    let timeout = cli.global.timeout;
    let result = runtime.block_on(async {
        // A handle's future, so that a command dropped at its deadline leaves no temporary files.
        tokio::select! {
            result = commands::run(cli) => result,
            () = deadline(timeout) => Err(Error::Timeout(timeout)),
            () = interrupted() => Err(Error::Interrupted),
        }
    });
    // A read that hangs in the kernel does not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn deadline(after: Duration) {
    if after.is_zero() {
        return std::future::pending().await;
    }
    tokio::time::sleep(after).await;
}

async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
