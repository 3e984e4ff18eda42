//! One cold start: nothing of the image is on the machine, and every byte comes over the link.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::containerd::Flavor;
use harness::distribution::Distribution;
use harness::image::{Form, Image};
use harness::link::{Link, Shape};
use harness::stack::Stack;

use crate::{calibrate, chart, report};

/// Starts containers over a slow link, pulled normally and lazily in turn, and prints what each took.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images, by their names in tests/harness/image/recipe.rs.
    #[arg(long, value_delimiter = ',', default_values_t = ["python".to_owned(), "jvm".to_owned()])]
    image: Vec<String>,
    /// Speed of the link in Mbit/s.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Round trip of the link in milliseconds.
    #[arg(long, default_value_t = 10)]
    round_trip: u32,
    /// Starts of each kind, in turn; the table shows medians.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Another snapshotter with the reference's command line, to be measured beside ours.
    #[arg(long, value_name = "NAME=BINARY", value_parser = peer)]
    peer: Option<Mode>,
    /// Write the table as a picture.
    #[arg(long, value_name = "FILE.svg")]
    chart: Option<PathBuf>,
}

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "mounting layers and running containers needs root"
    );
    ensure!(
        std::path::Path::new("/dev/fuse").exists(),
        "/dev/fuse is missing: modprobe fuse, or give the container the device"
    );
    ensure!(arguments.runs > 0, "--runs has to be at least 1");
    let shape = Shape {
        delay: Duration::from_millis(u64::from(arguments.round_trip)) / 2,
        rate: u64::from(arguments.rate) * 1_000_000 / 8,
    };
    let link = calibrate::measure(shape)?;
    let mut modes = vec![Mode::Normal, Mode::Lazy];
    modes.extend(arguments.peer.clone());
    let mut rows = Vec::new();
    for image in &arguments.image {
        let mut trials: Vec<Vec<Trial>> = vec![Vec::new(); modes.len()];
        for _ in 0..arguments.runs {
            for (mode, trials) in modes.iter().zip(&mut trials) {
                trials.push(run(image, mode, shape)?);
            }
        }
        for (mode, trials) in modes.iter().zip(trials) {
            rows.push(report::Row {
                image: image.clone(),
                mode: mode.name().to_owned(),
                median: report::median(&trials),
            });
        }
    }
    let title = format!(
        "link of {} Mbit/s and {} ms round trip (a plain download: {:.0} Mbit/s, {:.0} ms), median of {}",
        arguments.rate,
        arguments.round_trip,
        link.rate * 8.0 / 1e6,
        link.round_trip.as_secs_f64() * 1e3,
        arguments.runs
    );
    print!("{}", report::table(&title, &rows));
    if let Some(file) = &arguments.chart {
        std::fs::write(file, chart::svg(&title, &rows))?;
    }
    Ok(())
}

fn peer(text: &str) -> Result<Mode, String> {
    match text.split_once('=') {
        Some((name, binary)) if !name.is_empty() && !binary.is_empty() => Ok(Mode::Peer {
            name: name.to_owned(),
            binary: binary.into(),
        }),
        _ => Err("a name and a path are needed: NAME=BINARY".to_owned()),
    }
}

/// Who makes the root filesystem.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// containerd downloads and unpacks (overlayfs).
    Normal,
    /// The snapshotter of this project.
    Lazy,
    /// Another snapshotter.
    Peer { name: String, binary: PathBuf },
}

impl Mode {
    pub(crate) fn name(&self) -> &str {
        match self {
            Mode::Normal => "normal pull",
            Mode::Lazy => "soci-rs",
            Mode::Peer { name, .. } => name,
        }
    }

    fn snapshotter(&self) -> &'static str {
        match self {
            Mode::Normal => "overlayfs",
            Mode::Lazy | Mode::Peer { .. } => "soci",
        }
    }
}

/// What one start took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    /// From the request to pull until the image can be run.
    pub(crate) pull: Duration,
    /// From the request to pull until the container's first line of output.
    pub(crate) first_line: Duration,
    /// Over the link by then.
    pub(crate) bytes: u64,
    /// The most memory the snapshotter held, in bytes; containerd's own does not count.
    pub(crate) memory: Option<u64>,
}

fn run(image: &str, mode: &Mode, shape: Shape) -> Result<Trial> {
    let image = Image::get(image, Form::V2)?;
    let binary = match mode {
        Mode::Peer { binary, .. } => Some(binary.as_path()),
        Mode::Normal | Mode::Lazy => None,
    };
    let stack = Stack::start_binary(Flavor::Transfer, "", binary)?;
    let registry = Distribution::start(&stack.directory("registry")?)?;
    registry.push(image.name(), &image.layout)?;
    let link = Link::start(registry.address(), shape)?;
    let reference = format!("{}/{}:latest", link.address(), image.name());
    drop_page_cache()?;

    let begin = Instant::now();
    stack.pull_with(&reference, mode.snapshotter())?;
    let pull = begin.elapsed();
    let mut container = stack
        .containerd
        .ctr()
        .args([
            "run",
            "--rm",
            "--snapshotter",
            mode.snapshotter(),
            &reference,
            "cold-start",
        ])
        .args(image.recipe.command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start ctr")?;
    let first = first_line(&mut container, image.recipe.prints);
    let (first_line, bytes) = (begin.elapsed(), link.bytes());
    let status = container.wait()?;
    ensure!(
        first? && status.success(),
        "{} did not run: {}",
        image.name(),
        stack.logs()
    );
    let memory = match mode {
        Mode::Normal => None,
        Mode::Lazy | Mode::Peer { .. } => Some(peak_memory(stack.snapshotter.pid())?),
    };
    Ok(Trial {
        pull,
        first_line,
        bytes,
        memory,
    })
}

/// Waits for the line the image is made to print, on either stream. Whether it came.
fn first_line(container: &mut std::process::Child, prints: &str) -> Result<bool> {
    let stdout = container.stdout.take().context("no stdout")?;
    let stderr = container.stderr.take().context("no stderr")?;
    let (found, waiting) = std::sync::mpsc::channel();
    let watch = |stream: Box<dyn std::io::Read + Send>| {
        let (found, prints) = (found.clone(), prints.to_owned());
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if line.contains(&prints) {
                    // The other stream may have been faster.
                    let _ = found.send(());
                }
            }
        })
    };
    let watchers = [watch(Box::new(stdout)), watch(Box::new(stderr))];
    drop(found);
    let came = waiting.recv().is_ok();
    // Both end with the container; nothing is read twice.
    drop(watchers);
    Ok(came)
}

fn peak_memory(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .context("no VmHWM")?;
    Ok(kilobytes.trim().parse::<u64>()? * 1024)
}

/// The registry and the unpacked files of an earlier start must not help this one.
fn drop_page_cache() -> Result<()> {
    nix::unistd::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("cannot drop the page cache")
}
