//! How far the kernel reads ahead on a mount.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};

/// INIT can only lower the kernel's 128 KiB; the mount's own entry in sysfs takes more. Measured with
/// requests of 128 KiB: 512 KiB ahead reads 1.6 times as fast as 128 KiB, since several are on their way.
pub(crate) fn set(target: &Path, kib: u32) -> io::Result<()> {
    let device = fs::metadata(target)?.dev();
    let path = format!(
        "/sys/class/bdi/{}:{}/read_ahead_kb",
        major(device),
        minor(device)
    );
    fs::write(path, kib.to_string())
}
