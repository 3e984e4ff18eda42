//! What the exit code of the process says.

use std::process::ExitCode;

use crate::error::Error;

/// Shown below every `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed; the reason is on stderr
  2  wrong usage
  3  nothing to index: no layer is large enough and of a supported kind
  4  `verify` found errors, or `diff` found differences";

pub(crate) fn code(error: &Error) -> ExitCode {
    ExitCode::from(match error {
        Error::Usage(_) => 2,
        Error::NothingToIndex { .. } => 3,
        Error::Findings { .. } | Error::Different { .. } => 4,
        _ => 1,
    })
}
