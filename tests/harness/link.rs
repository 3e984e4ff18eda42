//! A slow link in user space: a delay per direction and one bandwidth for all connections, counted.

mod bucket;
mod connection;
mod head;
mod window;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use nix::sys::socket::{Shutdown, shutdown};
use parking_lot::Mutex;

use bucket::Bucket;

pub use head::Request;

#[derive(Clone, Copy, Debug, Default)]
pub struct Shape {
    /// One way; a round trip takes twice this, and so does opening a connection.
    pub delay: Duration,
    /// Bytes per second, in each direction, over all connections.
    pub rate: u64,
    /// Each connection starts with ten segments and doubles every round trip, again after a pause. Otherwise a
    /// connection has the whole bandwidth from its first byte on.
    pub slow_start: bool,
    /// Blobs are answered with a 307 to a second port of the link.
    pub redirect: bool,
}

/// Listens on loopback ports and forwards to `target` until dropped.
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
    listeners: [TcpListener; 2],
}

/// What came over a link so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    pub requests: u64,
    /// To the registry.
    pub up: u64,
    /// From the registry.
    pub down: u64,
    /// Thread time of the link itself.
    pub cpu: Duration,
}

struct Shared {
    shape: Shape,
    target: SocketAddr,
    /// Where redirects lead.
    store: SocketAddr,
    up: Bucket,
    down: Bucket,
    connections: AtomicU64,
    cpu_micros: AtomicU64,
    requests: Mutex<Vec<Request>>,
    closed: AtomicBool,
    /// Both ends of every connection, to close them with the link.
    streams: Mutex<Vec<TcpStream>>,
}

impl Link {
    pub fn start(target: SocketAddr, shape: Shape) -> Result<Self> {
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listeners = [bind()?, bind()?];
        let [address, store] = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let shared = Arc::new(Shared {
            shape,
            target,
            store,
            up: Bucket::new(shape.rate),
            down: Bucket::new(shape.rate),
            connections: AtomicU64::new(0),
            cpu_micros: AtomicU64::new(0),
            requests: Mutex::default(),
            closed: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        for (listener, is_store) in listeners.iter().zip([false, true]) {
            let (listener, shared) = (listener.try_clone()?, Arc::clone(&shared));
            std::thread::spawn(move || accept(&listener, &shared, is_store));
        }
        Ok(Self {
            address,
            shared,
            listeners,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that came over the link so far, in both directions.
    pub fn bytes(&self) -> u64 {
        let counts = self.counts();
        counts.up + counts.down
    }

    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.shared.connections.load(Ordering::Relaxed),
            requests: self.shared.requests.lock().len() as u64,
            up: self.shared.up.passed(),
            down: self.shared.down.passed(),
            cpu: Duration::from_micros(self.shared.cpu_micros.load(Ordering::Relaxed)),
        }
    }

    /// The requests so far, in the order in which they came in.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        for listener in &self.listeners {
            // Wakes the thread that waits for a connection.
            let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
        }
        for stream in self.shared.streams.lock().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, is_store: bool) {
    for client in listener.incoming() {
        if shared.closed.load(Ordering::Acquire) {
            return;
        }
        let Ok(client) = client else { return };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(shared);
        // A connection that breaks ends for both sides; they say so.
        std::thread::spawn(move || connection::forward(&shared, client, is_store));
    }
}
