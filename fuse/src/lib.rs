//! One layer, shown to the kernel: a read-only FUSE filesystem that waits for nothing but bytes.
//!
//! [`Mount::new`] mounts a [`layer::Layer`]. One thread per mount reads `/dev/fuse`; names, attributes
//! and resident bytes are answered on it, a read that has to wait is left to a task on the process's
//! runtime. Nothing is kept between two requests: inode numbers are the layer's own, there are no file
//! handles and no lookup counts, and everything the kernel was told stays true for ever. It may
//! therefore cache everything, and another process may go on with the same device.
//!
//! # Why the device loop is our own
//!
//! A read-only filesystem needs some fifteen opcodes. The `fuser` crate, which has them all, stands in
//! the way twice (0.18):
//!
//! - it answers FUSE_INTERRUPT with ENOSYS before the filesystem sees it (`src/request.rs`), after
//!   which the kernel never interrupts again. Measured: a process in a direct read that waits does not
//!   die of SIGKILL (state D after 5 s, until the connection is aborted); here it is gone in
//!   milliseconds (`tests/killable.rs`);
//! - `Session::from_fd` always performs INIT, which a connection does once in its life, so a live one
//!   cannot be taken over after a restart.
//!
//! # What the kernel is told
//!
//! - Lifetimes of names and attributes are endless, also of names that do not exist.
//! - OPEN and OPENDIR are answered ENOSYS once; files keep their pages and directories their listings.
//! - A waiting read ends with its bytes, with EIO at the deadline, or with EINTR when its process is
//!   being killed (not on other signals, see `signals`).
//! - The mount is `ro,nosuid,nodev,noexec,nosymfollow,noatime,default_permissions` without `allow_other`.

mod abi;
mod attr;
mod counters;
mod device;
mod directory;
mod errno;
mod error;
mod failures;
mod fs;
mod init;
mod options;
mod overdue;
mod readahead;
mod reply;
mod request;
mod session;
mod signals;
mod waiting;
mod xattr;

pub use abi::Opcode;
pub use counters::Counters;
pub use error::Error;
pub use init::{Negotiated, Refused};
pub use options::Options;
pub use session::{Mount, detach};
