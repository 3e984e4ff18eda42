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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    /// What the kernel's end sees of one request, whose number is 7.
    #[track_caller]
    fn check(answer: impl FnOnce(Reply), expect: &[(i32, &[u8])]) {
        let (ours, kernels) = UnixDatagram::pair().unwrap();
        kernels.set_nonblocking(true).unwrap();
        answer(Reply::new(Arc::new(Device::over(ours)), 7));
        let mut seen = Vec::new();
        let mut buffer = [0; 64];
        while let Ok(length) = kernels.recv(&mut buffer) {
            let word = |at: usize| i32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
            assert_eq!(
                (word(0), word(8), word(12)),
                (length.try_into().unwrap(), 7, 0)
            );
            seen.push((word(4), buffer[16..length].to_vec()));
        }
        let expect: Vec<_> = expect
            .iter()
            .map(|(error, body)| (*error, body.to_vec()))
            .collect();
        assert_eq!(seen, expect);
    }

    #[test]
    fn a_request_is_answered_once_whatever_becomes_of_it() {
        check(|reply| reply.data(b"body"), &[(0, b"body")]);
        check(|reply| reply.data(&[]), &[(0, &[])]);
        check(|reply| reply.fail(Errno::EROFS), &[(-30, &[])]);
        check(drop, &[(-5, &[])]);
        check(Reply::none, &[]);
        let panics = |reply| {
            let doomed = std::panic::AssertUnwindSafe(move || {
                let _reply: Reply = reply;
                panic!("on purpose");
            });
            assert!(std::panic::catch_unwind(doomed).is_err());
        };
        check(panics, &[(-5, &[])]);
    }
}
