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

pub(crate) fn run(image: &str, mode: &Mode, shape: Shape) -> Result<Trial> {
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
