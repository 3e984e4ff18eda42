//! The one answer a request gets.

use std::io;
use std::sync::Arc;

use nix::errno::Errno;

use crate::device::Device;

/// Answers one request, exactly once: with what it is told, or with EIO if it is dropped untold, so that
/// no reader hangs on a request that was lost to a panic or to the end of the runtime.
#[derive(Debug)]
pub(crate) struct Reply {
    device: Arc<Device>,
    unique: u64,
    open: bool,
}

impl Reply {
    pub(crate) fn new(device: Arc<Device>, unique: u64) -> Reply {
        Reply {
            device,
            unique,
            open: true,
        }
    }

    pub(crate) fn unique(&self) -> u64 {
        self.unique
    }

    pub(crate) fn data(mut self, bytes: &[u8]) {
        self.open = false;
        let sent = self.device.reply(self.unique, bytes);
        self.check(sent);
    }

    pub(crate) fn fail(mut self, errno: Errno) {
        self.open = false;
        let sent = self.device.fail(self.unique, errno);
        self.check(sent);
    }

    /// FORGET and INTERRUPT have no answer.
    pub(crate) fn none(mut self) {
        self.open = false;
    }

    fn check(&self, sent: io::Result<()>) {
        if let Err(error) = sent {
            // The kernel did not take it, so the request is still open and its reader still waits.
            tracing::error!(unique = self.unique, %error, "the kernel refused a reply");
            if self.device.fail(self.unique, Errno::EIO).is_err() {
                tracing::error!(unique = self.unique, "the kernel refused an error reply");
            }
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.open {
            let sent = self.device.fail(self.unique, Errno::EIO);
            tracing::error!(
                unique = self.unique,
                ?sent,
                "a request was dropped, answered EIO"
            );
        }
    }
}
