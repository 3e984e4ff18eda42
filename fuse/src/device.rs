//! The `/dev/fuse` descriptor of one connection: one message per read, one reply per write.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use zerocopy::IntoBytes;

use crate::abi::OutHeader;

#[derive(Debug)]
pub(crate) struct Device {
    file: File,
}

impl Device {
    /// A descriptor without a connection; mount(2) makes one. std sets O_CLOEXEC.
    pub(crate) fn open() -> io::Result<Device> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/fuse")?;
        Ok(Device { file })
    }

    #[cfg(test)]
    pub(crate) fn over(socket: std::os::unix::net::UnixDatagram) -> Device {
        Device {
            file: File::from(std::os::fd::OwnedFd::from(socket)),
        }
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Waits for the next message and returns its length, or `None` once the connection is over.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            let error = match (&self.file).read(buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => return Ok(Some(length)),
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw) {
                // ENOENT: the request was withdrawn while it was being handed over.
                Some(Errno::EINTR | Errno::EAGAIN | Errno::ENOENT) => {}
                // Unmounted, or aborted through /sys/fs/fuse/connections.
                Some(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(None),
                _ => return Err(error),
            }
        }
    }

    /// Header and body go in one writev(2): the bytes are copied once, by the kernel, into its pages.
    pub(crate) fn reply(&self, unique: u64, body: &[u8]) -> io::Result<()> {
        let header = header(unique, 0, body.len())?;
        self.write(&[IoSlice::new(header.as_bytes()), IoSlice::new(body)])
    }

    pub(crate) fn fail(&self, unique: u64, errno: Errno) -> io::Result<()> {
        // An errno is small and positive, so its negation exists.
        let header = header(unique, (errno as i32).wrapping_neg(), 0)?;
        self.write(&[IoSlice::new(header.as_bytes())])
    }

    /// The kernel takes a reply whole or not at all.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        loop {
            let error = match (&self.file).write_vectored(slices) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EINTR) => {}
                // ENOENT: nobody waits for this reply any more. ENODEV: unmounted meanwhile.
                Some(Errno::ENOENT | Errno::ENODEV | Errno::ECONNABORTED) => {
                    return Ok(());
                }
                _ => return Err(error),
            }
        }
    }
}

fn header(unique: u64, error: i32, body: usize) -> io::Result<OutHeader> {
    let len = body
        .checked_add(size_of::<OutHeader>())
        .and_then(|length| u32::try_from(length).ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok(OutHeader { len, error, unique })
}
