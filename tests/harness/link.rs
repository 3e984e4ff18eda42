//! A slow link in user space: a delay per direction and one bandwidth for all connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::runtime;

const CHUNK: usize = 32 << 10;
/// Chunks on the way in one direction of one connection: 64 MiB, more than any link under test holds.
const IN_FLIGHT: usize = 4096;

/// How much of the link's time an idle moment leaves over.
const BURST: Duration = Duration::from_millis(4);

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// One way; a round trip takes twice this.
    pub delay: Duration,
    /// Bytes per second over all connections and both directions.
    pub rate: u64,
}

/// Listens on a loopback port and forwards to `target` until dropped.
pub struct Link {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    passed: Arc<AtomicU64>,
}

impl Link {
    pub fn start(target: SocketAddr, shape: Shape) -> Result<Self> {
        let (listener, address) = runtime::listen()?;
        let passed = Arc::new(AtomicU64::new(0));
        let bucket = Arc::new(Bucket {
            rate: shape.rate,
            free_at: Mutex::new(Instant::now()),
            passed: Arc::clone(&passed),
        });
        let accepting = runtime::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connect(client, target, shape.delay, Arc::clone(&bucket)));
            }
        });
        Ok(Self {
            address,
            accepting,
            passed,
        })
    }

    /// Bytes that came over the link so far, in both directions.
    pub fn bytes(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Hands out the link's time: a chunk is through when everything before it is.
struct Bucket {
    rate: u64,
    free_at: Mutex<Instant>,
    passed: Arc<AtomicU64>,
}

impl Bucket {
    async fn pass(&self, bytes: usize) {
        let through = {
            let mut free_at = self.free_at.lock().await;
            let time = Duration::from_secs_f64(bytes as f64 / self.rate as f64);
            // Timers tick in milliseconds: a sender that woke up late may catch up.
            let now = Instant::now();
            let earliest = now.checked_sub(BURST).unwrap_or(now);
            *free_at = (*free_at).max(earliest) + time;
            *free_at
        };
        if through > Instant::now() {
            sleep_until(through).await;
        }
        self.passed.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

async fn connect(client: TcpStream, target: SocketAddr, delay: Duration, bucket: Arc<Bucket>) {
    // The handshake over loopback took no time; on the link it takes a round trip.
    sleep(delay * 2).await;
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
        return;
    }
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::spawn(direction(
        client_read,
        server_write,
        delay,
        Arc::clone(&bucket),
    ));
    direction(server_read, client_write, delay, bucket).await;
}

async fn direction(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    bucket: Arc<Bucket>,
) {
    let (line, mut arrivals) = mpsc::channel::<(Instant, Vec<u8>)>(IN_FLIGHT);
    let arriving = async move {
        while let Some((at, chunk)) = arrivals.recv().await {
            sleep_until(at).await;
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    let sending = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            match from.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => chunk.truncate(n),
            }
            bucket.pass(chunk.len()).await;
            if line.send((Instant::now() + delay, chunk)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(sending, arriving);
}
