//! One cold start and what it took.

use std::time::{Duration, Instant};

use anyhow::Result;
use harness::image::Image;
use harness::link::{Counts, Shape};
use serde::Serialize;

use crate::machine::{self, Noise, Watch};
use crate::mode::Mode;
use crate::node::{Node, Site};

/// Seconds, bytes, numbers.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Trial {
    /// From the request to pull until a container can be made.
    pub(crate) pull: f64,
    /// From then to the first line.
    pub(crate) run: f64,
    /// From the request to pull to the first line.
    pub(crate) total: f64,
    /// Over the link up to the first line, in both directions.
    pub(crate) bytes: u64,
    pub(crate) requests: u64,
    pub(crate) connections: u64,
    /// User and system time of the snapshotter up to the first line.
    pub(crate) cpu: f64,
    /// Of containerd, which unpacks for overlayfs.
    pub(crate) containerd_cpu: f64,
    /// The most the snapshotter held, up to the first line.
    pub(crate) memory: u64,
    /// The same image pulled again, with nothing to unpack.
    pub(crate) again: f64,
    /// A second container.
    pub(crate) warm: f64,
    /// Bytes over the link and seconds when all layers had come, if they came in time.
    pub(crate) complete: Option<(u64, f64)>,
    /// Of the link itself.
    pub(crate) link_cpu: f64,
    pub(crate) noise: Noise,
}

/// The limit is how long a run waits for the rest of the layers.
pub(crate) fn run(
    site: &Site,
    shape: Shape,
    image: &Image,
    mode: &Mode,
    limit: Duration,
    requests: bool,
) -> Result<Trial> {
    let node = Node::start(site, shape, mode, &mode.repository(image.name()))?;
    let snapshotter = node.stack.snapshotter.pid();
    let containerd = node.stack.containerd.pid();
    let [before, containerd_before] = [machine::cpu(snapshotter)?, machine::cpu(containerd)?];
    let watch = Watch::start()?;
    let begin = Instant::now();
    let pull = node.pull()?;
    let (run, (counts, cpu, containerd_cpu, memory, asked)) = node.run(image, || {
        let cpu = machine::cpu(snapshotter);
        let counts = node.link.counts();
        (
            counts,
            cpu,
            machine::cpu(containerd),
            machine::memory(snapshotter, "VmHWM"),
            node.link.requests(),
        )
    })?;
    let noise = watch.end()?;
    if requests {
        print!("{}", super::requests::list(&asked, begin, pull));
    }
    let Counts {
        connections,
        requests,
        up,
        down,
        cpu: link_cpu,
    } = counts;
    let (warm, ()) = node.run(image, || ())?;
    let complete = match mode {
        Mode::Overlayfs => Some((up + down, pull.as_secs_f64())),
        _ => complete(&node, image, begin, limit)?,
    };
    let again = node.pull_again()?;
    Ok(Trial {
        pull: pull.as_secs_f64(),
        run: run.as_secs_f64(),
        total: (pull + run).as_secs_f64(),
        bytes: up + down,
        requests,
        connections,
        cpu: (cpu?.saturating_sub(before)).as_secs_f64(),
        containerd_cpu: (containerd_cpu?.saturating_sub(containerd_before)).as_secs_f64(),
        memory: memory?,
        again: again.as_secs_f64(),
        warm: warm.as_secs_f64(),
        complete,
        link_cpu: link_cpu.as_secs_f64(),
        noise,
    })
}

/// Waits until as much has come as the layers have.
fn complete(
    node: &Node,
    image: &Image,
    begin: Instant,
    limit: Duration,
) -> Result<Option<(u64, f64)>> {
    let whole: u64 = image.layers()?.iter().map(|layer| layer.size).sum();
    while begin.elapsed() < limit {
        let bytes = node.link.bytes();
        if bytes >= whole {
            return Ok(Some((bytes, begin.elapsed().as_secs_f64())));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}
