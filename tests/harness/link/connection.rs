//! One connection over the link: two threads a direction, one that takes and one that delivers later.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};

use super::Shared;
use super::bucket::Bucket;
use super::head::{Piece, Splitter};
use super::window::Window;

/// Chunks on the way in one direction: more than any link under test holds.
const IN_FLIGHT: usize = 256;

/// Bytes and when they arrive; none are the end.
struct Parcel {
    at: Instant,
    buffer: Vec<u8>,
    length: usize,
}

type Line = SyncSender<Parcel>;

pub(super) fn forward(shared: &Arc<Shared>, client: TcpStream, is_store: bool) -> io::Result<()> {
    // The handshake over loopback took no time; on the link it takes a round trip.
    sleep(shared.shape.delay * 2);
    let server = TcpStream::connect(shared.target)?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        shared.streams.lock().push(stream.try_clone()?);
    }
    if shared.closed.load(Ordering::Acquire) {
        return Ok(());
    }
    let (down, used) = deliver(shared, client.try_clone()?);
    let (up, _) = deliver(shared, server.try_clone()?);
    let (other, answers) = (Arc::clone(shared), down.clone());
    spawn(move || requests(&other, client, &up, &answers, is_store));
    let ended = answer(shared, server, &down, &used);
    // The thread of the requests keeps the line open.
    let end = send(&shared.down, shared.shape.delay, &down, Vec::new(), 0);
    ended.and(end.map(drop))
}

/// The thread that writes what has arrived, and where its buffers come back.
fn deliver(shared: &Arc<Shared>, mut to: TcpStream) -> (Line, Receiver<Vec<u8>>) {
    let (line, parcels) = sync_channel::<Parcel>(IN_FLIGHT);
    let (back, used): (Sender<Vec<u8>>, _) = channel();
    let shared = Arc::clone(shared);
    spawn(move || {
        let mut clock = Clock::new(&shared);
        for parcel in parcels {
            wait_until(parcel.at);
            if parcel.length == 0 {
                break;
            }
            let bytes = parcel.buffer.get(..parcel.length).unwrap_or_default();
            if to.write_all(bytes).is_err() {
                let _ = to.shutdown(Shutdown::Both);
                return;
            }
            // Whoever made it may not want it again.
            let _ = back.send(parcel.buffer);
            clock.count();
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    (line, used)
}

/// Takes what the registry sends, at the pace of the link.
fn answer(
    shared: &Shared,
    mut from: TcpStream,
    line: &Line,
    used: &Receiver<Vec<u8>>,
) -> io::Result<()> {
    let mut clock = Clock::new(shared);
    let chunk = shared.down.chunk();
    let mut window = shared
        .shape
        .slow_start
        .then(|| Window::new(shared.shape.delay * 2));
    loop {
        let mut room = chunk;
        if let Some(window) = &mut window {
            room = loop {
                match window.room(Instant::now()) {
                    Ok(room) => break room.min(chunk),
                    Err(at) => wait_until(at),
                }
            };
        }
        let mut buffer = used.try_recv().unwrap_or_default();
        buffer.resize(chunk, 0);
        let length = from.read(buffer.get_mut(..room).unwrap_or_default())?;
        if length == 0 {
            return Ok(());
        }
        let through = send(&shared.down, shared.shape.delay, line, buffer, length)?;
        if let Some(window) = &mut window {
            window.sent(through, length);
        }
        clock.count();
    }
}

/// Takes what the client sends, and answers requests for blobs itself when they are to be redirected.
fn requests(
    shared: &Shared,
    mut from: TcpStream,
    line: &Line,
    answers: &Line,
    is_store: bool,
) -> io::Result<()> {
    let mut clock = Clock::new(shared);
    let (mut splitter, mut buffer) = (Splitter::default(), vec![0; 16 << 10]);
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        let read = buffer.get(..length).unwrap_or_default();
        for piece in splitter.feed(read, Instant::now()) {
            let bytes = match piece {
                Piece::Body(bytes) => bytes,
                Piece::Head(request, bytes) => {
                    shared.requests.lock().push(request.clone());
                    if shared.shape.redirect && !is_store && request.is_blob() {
                        let location = format!("http://{}{}", shared.store, request.path);
                        let answer = format!(
                            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
                        );
                        // It crosses the link once in each direction.
                        shared.up.pass(bytes.len(), Instant::now());
                        let delay = shared.shape.delay * 2;
                        let length = answer.len();
                        send(&shared.down, delay, answers, answer.into_bytes(), length)?;
                        if request.is_last {
                            send(&shared.down, delay, answers, Vec::new(), 0)?;
                        }
                        continue;
                    }
                    bytes
                }
            };
            let length = bytes.len();
            send(&shared.up, shared.shape.delay, line, bytes, length)?;
        }
        clock.count();
    }
}

/// Passes the bottleneck and goes on its way; returns when it was through.
fn send(
    bucket: &Bucket,
    delay: Duration,
    line: &Line,
    buffer: Vec<u8>,
    length: usize,
) -> io::Result<Instant> {
    let now = Instant::now();
    // What a late timer makes up for is bandwidth, not delay.
    let through = bucket.pass(length, now).max(now);
    wait_until(through);
    let parcel = Parcel {
        at: through + delay,
        buffer,
        length,
    };
    line.send(parcel)
        .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
    Ok(through)
}

fn wait_until(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        sleep(left);
    }
}

/// Adds the thread's time to the link's.
struct Clock<'a> {
    shared: &'a Shared,
    seen: u64,
}

impl<'a> Clock<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self { shared, seen: 0 }
    }

    fn count(&mut self) {
        let Ok(usage) = getrusage(UsageWho::RUSAGE_THREAD) else {
            return;
        };
        let micros = |time: nix::sys::time::TimeVal| {
            u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec()).unwrap_or(0)
        };
        let now = micros(usage.user_time()) + micros(usage.system_time());
        let more = now.saturating_sub(self.seen);
        self.shared.cpu_micros.fetch_add(more, Ordering::Relaxed);
        self.seen = now;
    }
}
