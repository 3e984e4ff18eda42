//! What the link really does, before anything measured over it is believed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::link::{Link, Shape};

const BYTES: usize = 32 << 20;

/// A plain download over the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Bytes a second.
    pub(crate) rate: f64,
    /// On an open connection.
    pub(crate) round_trip: Duration,
}

pub(crate) fn measure(shape: Shape) -> Result<Measured> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let link = Link::start(listener.local_addr()?, shape)?;
    let serving = std::thread::spawn(move || serve(&listener));
    let mut stream = TcpStream::connect(link.address())?;
    let mut block = vec![0; 1 << 16];
    // The first exchange opens the connection behind the link.
    ask(&mut stream, &mut block)?;
    let begin = Instant::now();
    ask(&mut stream, &mut block)?;
    let round_trip = begin.elapsed();
    let begin = Instant::now();
    let mut left = BYTES;
    while left > 0 {
        let read = stream.read(&mut block)?;
        ensure!(read > 0, "the link broke off");
        left = left.saturating_sub(read);
    }
    let rate = BYTES as f64 / begin.elapsed().as_secs_f64();
    serving.join().ok().context("the serving thread died")??;
    Ok(Measured { rate, round_trip })
}

fn ask(stream: &mut TcpStream, block: &mut [u8]) -> Result<()> {
    stream.write_all(b"?")?;
    let first = block.get_mut(..1).context("an empty block")?;
    stream.read_exact(first)?;
    Ok(())
}

/// Answers two questions with a byte each, then sends everything.
fn serve(listener: &TcpListener) -> Result<()> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut question = [0];
    for _ in 0..2 {
        stream.read_exact(&mut question)?;
        stream.write_all(b"!")?;
    }
    stream.write_all(&vec![7; BYTES])?;
    Ok(())
}
