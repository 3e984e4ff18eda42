//! Why a layer could not be mounted or unmounted.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::init::Refused;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot open /dev/fuse, is the fuse module loaded and the device passed in: {0}")]
    Device(#[source] io::Error),
    #[error("cannot mount at {}: {errno}", target.display())]
    Mount { target: PathBuf, errno: Errno },
    #[error("the new mount at {} was taken away before it was used", target.display())]
    Gone { target: PathBuf },
    #[error("cannot agree with the kernel about the mount at {}: {reason}", target.display())]
    Refused { target: PathBuf, reason: Refused },
    #[error("the kernel's first message for {} is not INIT", target.display())]
    NoInit { target: PathBuf },
    #[error("cannot talk to the kernel about the mount at {}: {source}", target.display())]
    Talk { target: PathBuf, source: io::Error },
    #[error("cannot start a thread for the mount at {}: {source}", target.display())]
    Thread { target: PathBuf, source: io::Error },
    #[error("cannot unmount {}: {source}", target.display())]
    Unmount { target: PathBuf, source: io::Error },
}
