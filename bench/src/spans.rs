//! Inflating the spans of layers from their checkpoints, on one core and on all, beside other decoders.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use harness::image::{Form, Image};
use harness::layout::Manifest;
use harness::link::Shape;
use serde::Deserialize;
use soci::build::Inflating;
use soci::spans::{SpanId, SpanTable};
use soci::ztoc::{Limits, Ztoc};

use crate::figures::{self, Figures};
use crate::machine;
use crate::mode::Mode;
use crate::node::{Node, Site};

/// Inflating: spans from their checkpoints on one core and on all, and whole layers by stock zlib.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    #[arg(long, value_delimiter = ',', default_value = "java,numpy")]
    image: Vec<String>,
    #[command(flatten)]
    options: figures::Options,
}

const LAYER_DIGEST: &str = "com.amazon.soci.image-layer-digest";

/// Fills as soon as it is mounted.
const AT_ONCE: &str = "[background_fetch]\nsilence_period_msec = 0\nfetch_period_msec = 0\n[profile]\nrecord = false\nuse = false\n";

/// Threads that do less than this part of the work are not counted.
const SHARE: f64 = 0.1;

/// Python's zlib is the system's: stock zlib on Debian.
const STOCK: &str = r"
import json, resource, sys, time, zlib
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
blobs = [open(path, 'rb').read() for path in sys.argv[1:]]
start, used, size = time.monotonic(), cpu(), 0
for blob in blobs:
    decoder, blob = zlib.decompressobj(31), memoryview(blob)
    for at in range(0, len(blob), 1 << 20):
        size += len(decoder.decompress(blob[at:at + (1 << 20)]))
print(json.dumps({'version': zlib.ZLIB_RUNTIME_VERSION, 'bytes': size,
    'wall': time.monotonic() - start, 'cpu': cpu() - used}))
";

pub(crate) fn main(arguments: &Arguments) -> Result<()> {
    let title =
        "Spans from their checkpoints by zlib-rs, and whole layers by others, which verify nothing";
    figures::report("spans", title, &arguments.options, |figures| {
        let mut images = arguments.image.iter();
        images.try_for_each(|name| measure(name, figures))
    })
}

fn measure(name: &str, figures: &mut Figures) -> Result<()> {
    let image = Image::get(name, Form::V2)?;
    let layers = Layer::all(&image)?;
    // Once for the memory they are inflated into, which the daemon has long had.
    ours(&layers, 1)?;
    let cores = std::thread::available_parallelism()?.get();
    let (one, all) = (ours(&layers, 1)?, ours(&layers, cores)?);
    let label = |what: &str| format!("{name}, {what}");
    let building = building(&layers)?;
    let stock = match (stock(&layers, 1)?, stock(&layers, cores)?) {
        (Some(one), Some(all)) => Some((one, all)),
        _ => None,
    };
    let per_cpu = "spans verified and inflated, MB of tar a CPU-second";
    figures.against(
        label(per_cpu),
        one.per_cpu(),
        "MB",
        "whole layers by the decoder that builds zTOCs",
        building.per_cpu(),
    );
    if let Some(((version, stock), _)) = &stock {
        let against = format!("whole layers by stock zlib {version}");
        figures.against(
            label(per_cpu),
            one.per_cpu(),
            "MB",
            &against,
            stock.per_cpu(),
        );
    }
    let per_second = format!("the same on {cores} cores, MB of tar a second");
    figures.against(
        label(&per_second),
        all.per_second(),
        "MB",
        "one core",
        one.per_second(),
    );
    if let Some((_, (version, stock))) = &stock {
        let against = format!("stock zlib {version}, a process a core");
        figures.against(
            label(&per_second),
            all.per_second(),
            "MB",
            &against,
            stock.per_second(),
        );
    }
    daemon(&image, figures)
}

/// What was inflated, and what it took.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    bytes: u64,
    wall: f64,
    cpu: f64,
}

impl Took {
    fn per_cpu(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.cpu
    }

    fn per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.wall
    }
}

/// A layer with a zTOC, in memory.
struct Layer {
    path: PathBuf,
    blob: Vec<u8>,
    ztoc: Vec<u8>,
    spans: SpanTable,
}

impl Layer {
    fn all(image: &Image) -> Result<Vec<Self>> {
        let index: Manifest = image.layout.json(&image.index()?.digest)?;
        let ztocs = index.layers.iter();
        ztocs
            .filter_map(|ztoc| Some((ztoc, ztoc.annotations.get(LAYER_DIGEST)?)))
            .map(|(ztoc, layer)| {
                let ztoc = image.layout.read(&ztoc.digest)?;
                Ok(Self {
                    path: image.layout.path(layer),
                    blob: image.layout.read(layer)?,
                    spans: Ztoc::parse(&ztoc, &Limits::default())?.spans,
                    ztoc,
                })
            })
            .collect()
    }

    /// As the daemon does it: verified, then inflated.
    fn inflate(&self, span: SpanId) -> Result<u64> {
        let range = self.spans.compressed(span).context("no such span")?;
        let compressed = bytes(&self.blob, &range)?;
        self.spans.verify(span, compressed)?;
        let window = match self.spans.window(span) {
            Some(window) => bytes(&self.ztoc, &window.blob)?,
            None => &[],
        };
        let tar = self.spans.inflate(span, compressed, window)?;
        Ok(tar.len() as u64)
    }
}

fn bytes<'a>(of: &'a [u8], range: &std::ops::Range<u64>) -> Result<&'a [u8]> {
    let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
    of.get(range).context("a range outside of its blob")
}

/// Every span of every layer, whichever thread comes to it.
fn ours(layers: &[Layer], threads: usize) -> Result<Took> {
    let work: Vec<(&Layer, SpanId)> = layers
        .iter()
        .flat_map(|layer| (0..layer.spans.len()).map(move |span| (layer, SpanId(span))))
        .collect();
    let next = AtomicUsize::new(0);
    let inflate = || {
        let mut sum = 0;
        while let Some((layer, span)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
            sum += layer.inflate(*span)?;
        }
        Ok::<u64, anyhow::Error>(sum)
    };
    timed(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(inflate)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow!("inflating panicked"))?)
                .sum()
        })
    })
}

fn building(layers: &[Layer]) -> Result<Took> {
    timed(|| {
        let whole = |layer: &Layer| -> Result<u64> {
            let mut inflating = Inflating::default();
            for piece in layer.blob.chunks(256 << 10) {
                inflating.push(piece)?;
            }
            Ok(inflating.finish()?)
        };
        layers.iter().map(whole).sum()
    })
}

/// On this process's account: the caller's threads are the only ones that work.
fn timed(work: impl FnOnce() -> Result<u64>) -> Result<Took> {
    let this = std::process::id();
    let (had, begin) = (machine::cpu(this)?, Instant::now());
    let bytes = work()?;
    Ok(Took {
        bytes,
        wall: begin.elapsed().as_secs_f64(),
        cpu: machine::cpu(this)?.saturating_sub(had).as_secs_f64(),
    })
}

#[derive(Deserialize)]
struct Stock {
    version: String,
    bytes: u64,
    wall: f64,
    cpu: f64,
}

/// All layers in each of so many processes at the same time; none where there is no Python.
fn stock(layers: &[Layer], processes: usize) -> Result<Option<(String, Took)>> {
    let start = || {
        Command::new("python3")
            .args(["-c", STOCK])
            .args(layers.iter().map(|layer| &layer.path))
            .stdout(Stdio::piped())
            .spawn()
    };
    let Ok(children) = (0..processes)
        .map(|_| start())
        .collect::<Result<Vec<_>, _>>()
    else {
        return Ok(None);
    };
    let (mut sum, mut found) = (Took::default(), String::new());
    for child in children {
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "python3 with zlib: {}",
            output.status
        );
        let stock: Stock = serde_json::from_slice(&output.stdout)?;
        sum.bytes += stock.bytes;
        sum.cpu += stock.cpu;
        sum.wall = sum.wall.max(stock.wall);
        found = stock.version;
    }
    Ok(Some((found, sum)))
}

/// Whether the daemon's spans are inflated on several threads: over a link that is never short of bytes.
fn daemon(image: &Image, figures: &mut Figures) -> Result<()> {
    let site = Site::new()?;
    site.push(image.name(), &image.layout)?;
    let shape = Shape {
        rate: 10 << 30,
        ..Shape::default()
    };
    let mode = Mode::Ours { config: AT_ONCE };
    let node = Node::start(&site, shape, &mode, image.name())?;
    node.pull()?;
    let whole: u64 = image.layers()?.iter().map(|layer| layer.size).sum();
    let begin = Instant::now();
    while node.link.counts().down < whole {
        ensure!(
            begin.elapsed() < Duration::from_secs(120),
            "not filled:\n{}",
            node.stack.logs()
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let threads = machine::threads(node.stack.snapshotter.pid())?;
    let all: f64 = threads.iter().sum();
    let busy = threads.iter().filter(|cpu| **cpu > all * SHARE).count();
    figures.add(
        format!(
            "{}, threads of the daemon that share the work",
            image.name()
        ),
        busy as f64,
        "",
    );
    Ok(())
}
