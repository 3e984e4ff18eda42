//! One request at a time: ask the layer, reply; what has to wait is left to a task.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use layer::{Inode, Layer, Pending, Read};
use nix::errno::Errno;
use tokio::runtime::Handle;
use tokio::time::timeout;
use zerocopy::IntoBytes;

use crate::abi::StatfsOut;
use crate::attr;
use crate::counters::Counters;
use crate::device::Device;
use crate::directory::{self, Form};
use crate::errno;
use crate::failures::Failures;
use crate::options::Options;
use crate::overdue::Overdue;
use crate::reply::Reply;
use crate::request::{self, Message, Request, Window};
use crate::waiting::{Ticket, Waiting};
use crate::xattr;

/// Everything a task needs that outlives the message it came from.
struct Shared {
    options: Options,
    counters: Arc<Counters>,
    failures: Failures,
    overdue: Overdue,
}

pub(crate) struct Filesystem {
    layer: Arc<Layer>,
    /// False: no inode has any, and the kernel learns so from its first question.
    xattrs: bool,
    device: Arc<Device>,
    runtime: Handle,
    waiting: Arc<Waiting>,
    shared: Arc<Shared>,
}

impl Filesystem {
    pub(crate) fn new(
        layer: Arc<Layer>,
        device: Arc<Device>,
        runtime: Handle,
        options: Options,
        counters: Arc<Counters>,
    ) -> Filesystem {
        let shared = Shared {
            options,
            counters,
            failures: Failures::default(),
            overdue: Overdue::default(),
        };
        Filesystem {
            xattrs: layer.tree().has_xattrs(),
            layer,
            device,
            runtime,
            waiting: Arc::default(),
            shared: Arc::new(shared),
        }
    }

    /// Never waits, and answers every message that has an answer.
    pub(crate) fn handle(&self, bytes: &[u8]) {
        let Some(message) = request::decode(bytes) else {
            tracing::error!(length = bytes.len(), "a message shorter than its header");
            return;
        };
        self.shared.counters.count(message.number);
        tracing::trace!(
            unique = message.unique,
            inode = %message.inode,
            thread = message.thread,
            request = ?message.request,
            "request"
        );
        let reply = Reply::new(Arc::clone(&self.device), message.unique);
        self.answer(message, reply);
    }

    /// No more messages will come.
    pub(crate) fn close(&self) {
        self.waiting.close();
    }

    fn answer(&self, message: Message<'_>, reply: Reply) {
        let inode = message.inode;
        match message.request {
            Request::Lookup { name } => self.lookup(inode, name, reply),
            Request::Getattr => match self.layer.tree().attr(inode) {
                Some(attr) => reply.data(attr::attributes(inode, &attr).as_bytes()),
                None => reply.fail(Errno::ENOENT),
            },
            Request::Readlink => match self.layer.tree().readlink(inode) {
                Some(target) => reply.data(target),
                None => reply.fail(Errno::EINVAL),
            },
            Request::Read(window) => self.read(inode, window, message.thread, reply),
            Request::Readdir(window) => self.list(inode, window, Form::Names, reply),
            Request::Readdirplus(window) => self.list(inode, window, Form::WithAttributes, reply),
            Request::Statfs => reply.data(self.statfs().as_bytes()),
            // ENOSYS: the kernel does not ask again and says EOPNOTSUPP.
            Request::Getxattr { .. } | Request::Listxattr { .. } if !self.xattrs => {
                reply.fail(Errno::ENOSYS);
            }
            Request::Getxattr { name, size } => match self.layer.tree().xattr(inode, name) {
                Some(value) => xattr::answer(reply, value, size),
                None => reply.fail(Errno::ENODATA),
            },
            Request::Listxattr { size } => {
                let names = xattr::names(self.layer.tree().xattrs(inode));
                xattr::answer(reply, &names, size);
            }
            Request::Interrupt { unique } => {
                self.waiting.interrupt(unique);
                reply.none();
            }
            Request::Forget => reply.none(),
            Request::Nothing => reply.data(&[]),
            Request::Change => reply.fail(Errno::EROFS),
            Request::Unsupported => reply.fail(Errno::ENOSYS),
            Request::Malformed => reply.fail(Errno::EINVAL),
        }
    }

    fn lookup(&self, parent: Inode, name: &[u8], reply: Reply) {
        let tree = self.layer.tree();
        let found = tree
            .lookup(parent, name)
            .and_then(|inode| Some((inode, tree.attr(inode)?)));
        let entry = found.map_or_else(attr::absent, |(inode, attr)| attr::entry(inode, &attr));
        reply.data(entry.as_bytes());
    }

    fn list(&self, directory: Inode, window: Window, form: Form, reply: Reply) {
        match directory::list(self.layer.tree(), directory, window, form) {
            Some(listing) => reply.data(&listing),
            None => reply.fail(Errno::ENOTDIR),
        }
    }

    /// As large as the layer, and full.
    fn statfs(&self) -> StatfsOut {
        const BLOCK: u32 = 4096;
        StatfsOut {
            blocks: self.layer.progress().total.div_ceil(u64::from(BLOCK)),
            files: self.layer.tree().inodes(),
            bsize: BLOCK,
            frsize: BLOCK,
            namelen: 255,
            ..StatfsOut::default()
        }
    }

    fn read(&self, inode: Inode, window: Window, thread: u32, reply: Reply) {
        match self.layer.read(inode, window.offset, window.size) {
            Read::Ready(bytes) => reply.data(&bytes),
            Read::Failed(error) => self.shared.fail(inode, &error, reply),
            Read::Pending(_) if self.shared.overdue.repeats(inode, window) => {
                reply.fail(Errno::EIO)
            }
            Read::Pending(pending) => {
                self.shared.counters.waited.fetch_add(1, Ordering::Relaxed);
                match self.waiting.register(reply.unique()) {
                    Some(ticket) => {
                        let shared = Arc::clone(&self.shared);
                        self.runtime
                            .spawn(shared.wait(inode, window, pending, thread, ticket, reply));
                    }
                    None => {
                        self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                        self.shared
                            .failures
                            .log(inode, &"too many reads are waiting");
                        reply.fail(Errno::EAGAIN);
                    }
                }
            }
        }
    }
}

impl Shared {
    /// Until the bytes are here, the deadline passes or the reader dies.
    async fn wait(
        self: Arc<Self>,
        inode: Inode,
        window: Window,
        pending: Pending,
        thread: u32,
        mut ticket: Ticket,
        reply: Reply,
    ) {
        tokio::select! {
            biased;
            outcome = timeout(self.options.deadline, pending) => match outcome {
                Ok(Ok(bytes)) => reply.data(&bytes),
                Ok(Err(error)) => self.fail(inode, &error, reply),
                Err(_) => {
                    self.overdue.record(inode, window);
                    self.counters.overdue.fetch_add(1, Ordering::Relaxed);
                    self.failures.log(inode, &"its bytes did not arrive in time");
                    reply.fail(Errno::EIO);
                }
            },
            () = ticket.killed(thread) => {
                self.counters.interrupted.fetch_add(1, Ordering::Relaxed);
                reply.fail(Errno::EINTR);
            }
        }
    }

    fn fail(&self, inode: Inode, error: &layer::Error, reply: Reply) {
        self.failures.log(inode, error);
        reply.fail(errno::of(error));
    }
}
