//! Every error of a layer as the one number its reader gets.

use layer::Error;
use nix::errno::Errno;

/// A process that could open a file does not expect to be denied its bytes: whatever keeps them away
/// is an I/O error to it, and a line in our log to whoever can do something about it.
pub(crate) fn of(error: &Error) -> Errno {
    match error {
        Error::NoEntry { .. } => Errno::ENOENT,
        Error::NotAFile { .. } => Errno::EINVAL,
        Error::Unreachable { .. }
        | Error::Denied { .. }
        | Error::Missing { .. }
        | Error::Refused { .. }
        | Error::Corrupt { .. }
        | Error::Unfit { .. }
        | Error::Disk { .. }
        | Error::Stopped { .. } => Errno::EIO,
    }
}
