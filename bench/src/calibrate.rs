//! What the link really does, before anything measured over it is believed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::link::{Link, Shape};

use crate::figures::{self, Figures};
use crate::links::{self, Named};

const BYTES: usize = 64 << 20;

/// The links: what a plain download over each gets, and what the link itself takes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Links
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = links::parse,
        default_value = "5ms/1gbit,10ms/400mbit,30ms/1gbit,50ms/100mbit"
    )]
    link: Vec<Named>,
    #[command(flatten)]
    shape: links::Options,
    #[command(flatten)]
    options: figures::Options,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title = format!("{} MiB over each link", BYTES >> 20);
    let measure = |figures: &mut Figures| -> Result<()> {
        for link in &arguments.link {
            let measured = measure(link.shape(&arguments.shape))?;
            let name = &link.name;
            let said = link.round_trip.as_secs_f64() * 1e3;
            let found = measured.round_trip.as_secs_f64() * 1e3;
            figures.against(format!("{name}, round trip"), found, "ms", "said", said);
            let mbit = |rate: f64| rate * 8.0 / 1e6;
            let said = mbit(link.rate as f64);
            figures.against(
                format!("{name}, download"),
                mbit(measured.rate),
                "Mbit/s",
                "said",
                said,
            );
            figures.add(
                format!("{name}, one core taken by the link"),
                measured.cpu * 100.0,
                "%",
            );
        }
        Ok(())
    };
    figures::report("link", &title, &arguments.options, measure)
}

/// A plain download over the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Bytes a second.
    pub(crate) rate: f64,
    /// On an open connection.
    pub(crate) round_trip: Duration,
    /// Of one core, while the download ran.
    pub(crate) cpu: f64,
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
    let took = begin.elapsed().as_secs_f64();
    let (rate, cpu) = (BYTES as f64 / took, link.counts().cpu.as_secs_f64() / took);
    serving.join().ok().context("the serving thread died")??;
    Ok(Measured {
        rate,
        round_trip,
        cpu,
    })
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
