//! A temporary directory that takes the mounts and container shims below it along when it goes.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::mountinfo;

pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    pub fn on_disk() -> Result<Self> {
        Ok(Self {
            dir: tempfile::Builder::new().prefix("soci-").tempdir()?,
        })
    }

    /// In memory, where unpacking and removing are quick, unless the kernel's tmpfs has no `user.` attributes
    /// (Linux before 6.6) or `$SOCI_KEEP` asks to keep everything for a look.
    pub fn in_memory() -> Result<Self> {
        let this = Self::on_disk()?;
        if std::env::var_os("SOCI_KEEP").is_some() {
            return Ok(this);
        }
        mount(
            Some("tmpfs"),
            this.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("mode=0700"),
        )
        .context("mounting a tmpfs: tests must run as root")?;
        if xattr::set(this.path(), "user.probe", b"").is_err() {
            mountinfo::unmount_under(this.path())?;
        }
        Ok(this)
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = end_shims(self.path()) {
            eprintln!("shims below {}: {error:#}", self.path().display());
        }
        if let Err(error) = mountinfo::unmount_under(self.path()) {
            eprintln!("{error:#}");
        }
        if std::env::var_os("SOCI_KEEP").is_some() {
            self.dir.disable_cleanup(true);
            eprintln!("kept for a look: {}", self.path().display());
        }
    }
}

/// Ends the shims that were started with a socket below `dir`; they outlive their containerd.
fn end_shims(dir: &Path) -> Result<()> {
    let needle = dir.as_os_str().as_bytes();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let is_shim = command.windows(15).any(|part| part == b"containerd-shim");
        if is_shim && command.windows(needle.len()).any(|part| part == needle) {
            kill(Pid::from_raw(pid), Signal::SIGKILL).context("kill a shim")?;
        }
    }
    Ok(())
}
