//! A mount from mount(2) to umount2(2), and the thread that serves it.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use layer::Layer;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::runtime::Handle;
use zerocopy::{FromBytes, IntoBytes};

use crate::abi::{InHeader, InitIn, MIN_READ_BUFFER, Opcode};
use crate::counters::Counters;
use crate::device::Device;
use crate::error::Error;
use crate::fs::Filesystem;
use crate::init::{self, Negotiated};
use crate::options::Options;
use crate::readahead;

/// Shown as the mount's device. The type is what tools that count such mounts look for.
const SOURCE: &str = "soci";
const KIND: &str = "fuse.rawBridge";

/// Not in nix. Kernels before 5.10 ignore it.
const NOSYMFOLLOW: MsFlags = MsFlags::from_bits_retain(256);

/// Handlers are shallow, and there is one thread per mount.
const STACK: usize = 256 << 10;

/// How long `unmount` waits for the thread. It goes on serving for as long as somebody, an overlay or an
/// open file, still uses the detached mount.
const GRACE: Duration = Duration::from_millis(500);

/// One layer, mounted. It stays mounted when this is dropped.
#[derive(Debug)]
pub struct Mount {
    target: PathBuf,
    counters: Arc<Counters>,
    negotiated: Negotiated,
    ended: Receiver<()>,
}

impl Mount {
    /// Mounts `layer` at `target` and serves it. Reads that wait do so on `runtime`. Blocks for as long as
    /// mount(2) does, but not on the network.
    pub fn new(
        layer: Arc<Layer>,
        target: &Path,
        options: &Options,
        runtime: Handle,
    ) -> Result<Mount, Error> {
        let device = Arc::new(Device::open().map_err(Error::Device)?);
        attach(&device, target)?;
        let started = serve(layer, device, target, options, runtime);
        if started.is_err()
            && let Err(error) = detach(target)
        {
            tracing::warn!(mountpoint = %target.display(), %error, "a failed mount could not be undone");
        }
        started
    }

    /// Takes the mount out of the tree at once, then waits a moment for its last user. Blocks.
    pub fn unmount(self) -> Result<(), Error> {
        match detach(&self.target) {
            // Somebody else has unmounted it.
            Err(error) if error.raw_os_error() == Some(Errno::EINVAL as i32) => {}
            Err(source) => {
                return Err(Error::Unmount {
                    target: self.target,
                    source,
                });
            }
            Ok(()) => {}
        }
        if self.ended.recv_timeout(GRACE) == Err(RecvTimeoutError::Timeout) {
            tracing::debug!(mountpoint = %self.target.display(), "detached, but still in use");
        }
        Ok(())
    }

    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// What was agreed with the kernel.
    pub fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }
}

/// Takes whatever is mounted at `target` out of the tree; who uses it still can.
pub fn detach(target: &Path) -> io::Result<()> {
    umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).map_err(io::Error::from)
}

/// No `allow_other`: overlayfs reads with the credentials of whoever mounted it, and nobody else has
/// business here. For the same reason the strict flags do not reach the container.
fn attach(device: &Device, target: &Path) -> Result<(), Error> {
    let flags = MsFlags::MS_RDONLY
        | MsFlags::MS_NOSUID
        | MsFlags::MS_NODEV
        | MsFlags::MS_NOEXEC
        | MsFlags::MS_NOATIME
        | NOSYMFOLLOW;
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions",
        device.raw()
    );
    mount(Some(SOURCE), target, Some(KIND), flags, Some(data.as_str())).map_err(|errno| {
        Error::Mount {
            target: target.to_owned(),
            errno,
        }
    })
}

fn serve(
    layer: Arc<Layer>,
    device: Arc<Device>,
    target: &Path,
    options: &Options,
    runtime: Handle,
) -> Result<Mount, Error> {
    let negotiated = handshake(&device, target, options)?;
    let counters = Arc::new(Counters::new());
    let filesystem = Filesystem::new(
        layer,
        Arc::clone(&device),
        runtime.clone(),
        options.clone(),
        Arc::clone(&counters),
    );
    // Nothing is ever sent: that the sender is gone says that the thread is.
    let (alive, ended) = mpsc::sync_channel(0);
    thread::Builder::new()
        .name("soci-fuse".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            // A layer may spawn while it is asked.
            let _runtime = runtime.enter();
            run(&filesystem, &device);
            filesystem.close();
            drop((filesystem, device));
            drop(alive);
        })
        .map_err(|source| Error::Thread {
            target: target.to_owned(),
            source,
        })?;
    if let Err(error) = readahead::set(target, options.read_ahead) {
        tracing::warn!(mountpoint = %target.display(), %error, "readahead stays at the kernel's default");
    }
    tracing::debug!(mountpoint = %target.display(), ?negotiated, "mounted");
    Ok(Mount {
        target: target.to_owned(),
        counters,
        negotiated,
        ended,
    })
}

/// INIT is the first message and is there as soon as mount(2) has returned.
fn handshake(device: &Device, target: &Path, options: &Options) -> Result<Negotiated, Error> {
    let talk = |source| Error::Talk {
        target: target.to_owned(),
        source,
    };
    let mut buffer = [0; MIN_READ_BUFFER];
    let length = device.receive(&mut buffer).map_err(talk)?;
    let length = length.ok_or_else(|| Error::Gone {
        target: target.to_owned(),
    })?;
    let message = buffer.get(..length).unwrap_or_default();
    let no_init = || Error::NoInit {
        target: target.to_owned(),
    };
    let (header, rest) = InHeader::read_from_prefix(message).map_err(|_| no_init())?;
    if header.opcode != Opcode::Init as u32 {
        return Err(no_init());
    }
    let (offer, _) = InitIn::read_from_prefix(rest).map_err(|_| no_init())?;
    match init::negotiate(&offer, options.read_ahead) {
        Ok(negotiated) => {
            let answer = negotiated.answer();
            device
                .reply(header.unique, answer.as_bytes())
                .map_err(talk)?;
            Ok(negotiated)
        }
        Err(reason) => {
            device.fail(header.unique, Errno::EPROTO).map_err(talk)?;
            Err(Error::Refused {
                target: target.to_owned(),
                reason,
            })
        }
    }
}

/// Ends when the last user of the mount is gone.
fn run(filesystem: &Filesystem, device: &Device) {
    let mut buffer = [0; MIN_READ_BUFFER];
    loop {
        let length = match device.receive(&mut buffer) {
            Ok(Some(length)) => length,
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "a mount is lost: its device cannot be read");
                break;
            }
        };
        let message = buffer.get(..length).unwrap_or_default();
        // No handler panics by intent. But the end of this thread would be the end of every container on
        // this layer, while one lost request is one EIO: its `Reply` sends that when it is dropped.
        if panic::catch_unwind(AssertUnwindSafe(|| filesystem.handle(message))).is_err() {
            tracing::error!("a handler panicked, its request was answered EIO");
        }
    }
}
