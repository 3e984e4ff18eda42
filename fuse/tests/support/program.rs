//! A process that reads in ways Rust has no safe words for, and may be killed.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::LazyLock;

/// `reader HOW FILE [timer]`: see `reader.c`. Made by the C compiler that links the tests.
static READER: LazyLock<(tempfile::TempDir, PathBuf)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("reader");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/reader.c");
    let made = Command::new("cc")
        .args(["-O1", "-static", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "cannot make reader.c with cc"
    );
    (dir, program)
});

pub(crate) fn path() -> &'static Path {
    &READER.1
}

pub(crate) fn reader(how: &str, file: &Path) -> Command {
    let mut command = Command::new(path());
    command.arg(how).arg(file);
    command
}

/// The errno it ended with, 0 for none; negative is a signal.
pub(crate) fn outcome(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| -status.signal().unwrap())
}
