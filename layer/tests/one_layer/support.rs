//! Fixtures, and the source that misbehaves.

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _};
use layer::{
    Cache, CacheOptions, Error, Inode, Kind, Layer, LayerId, Metrics, Options, Read, Source,
    SourceError, SourceFailure,
};
use oci_spec::image::Digest;
use soci::build::{BuildOptions, Builder, Compression, Cuts};
use soci::spans::{SpanId, SpanTable};
use soci::toc::{EntryId, Toc};
use soci::ztoc::{Limits, Ztoc};
use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::sync::watch;

#[derive(Copy, Clone, Debug)]
pub(crate) enum Trick {
    Fail(SourceFailure),
    FlipBit,
    Truncate,
    Extend,
}

/// A blob in memory.
pub(crate) struct Blob {
    bytes: Bytes,
    requests: Mutex<Vec<Range<u64>>>,
    tricks: Mutex<VecDeque<Trick>>,
    gate: watch::Sender<Gate>,
}

/// What keeps answers back.
#[derive(Clone, Default)]
struct Gate {
    closed: bool,
    /// Bytes of each answer that come all the same.
    first: u64,
    /// Requests that are answered all the same, by their place in the log.
    open: HashSet<usize>,
}

impl Blob {
    pub(crate) fn new(bytes: Vec<u8>) -> Arc<Blob> {
        Arc::new(Blob {
            bytes: bytes.into(),
            requests: Mutex::default(),
            tricks: Mutex::default(),
            gate: watch::Sender::default(),
        })
    }

    /// The next requests go wrong like this, one after the other.
    pub(crate) fn play(&self, tricks: &[Trick]) {
        self.tricks.lock().unwrap().extend(tricks);
    }

    /// Requests arrive but get no answer.
    pub(crate) fn hold(&self) {
        self.hold_after(0);
    }

    /// Of each answer only so many bytes arrive.
    pub(crate) fn hold_after(&self, first: u64) {
        self.gate.send_modify(|gate| {
            gate.closed = true;
            gate.first = first;
        });
    }

    /// These requests are answered while others are held.
    pub(crate) fn answer(&self, requests: Range<usize>) {
        self.gate.send_modify(|gate| gate.open.extend(requests));
    }

    pub(crate) fn release(&self) {
        self.gate.send_replace(Gate::default());
    }

    pub(crate) fn requests(&self) -> Vec<Range<u64>> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.requests().len()
    }
}

/// The same blob under several layers.
pub(crate) struct Shared(pub(crate) Arc<Blob>);

/// A request that came in.
struct Asked {
    blob: Arc<Blob>,
    number: usize,
    range: Range<u64>,
    trick: Option<Trick>,
}

impl Shared {
    fn ask(&self, range: Range<u64>) -> Asked {
        let blob = Arc::clone(&self.0);
        let number = {
            let mut requests = blob.requests.lock().unwrap();
            requests.push(range.clone());
            requests.len() - 1
        };
        let trick = blob.tricks.lock().unwrap().pop_front();
        Asked {
            blob,
            number,
            range,
            trick,
        }
    }
}

impl Asked {
    async fn opened(&self) {
        let mut gate = self.blob.gate.subscribe();
        let open = |gate: &Gate| !gate.closed || gate.open.contains(&self.number);
        gate.wait_for(open).await.unwrap();
    }

    fn bytes(&self) -> Result<Bytes, SourceError> {
        let range = self.range.start as usize..self.range.end as usize;
        let right = self.blob.bytes.slice(range);
        match self.trick {
            None => Ok(right),
            Some(Trick::Fail(failure)) => Err(SourceError::new(failure, "told to fail")),
            Some(Trick::Truncate) => Ok(right.slice(..right.len() - 1)),
            Some(Trick::Extend) => Ok([&right[..], b"!"].concat().into()),
            Some(Trick::FlipBit) => {
                let mut wrong = right.to_vec();
                let middle = wrong.len() / 2;
                wrong[middle] ^= 1;
                Ok(wrong.into())
            }
        }
    }
}

impl Source for Shared {
    fn read(&self, range: Range<u64>) -> BoxFuture<'static, Result<Bytes, SourceError>> {
        let asked = self.ask(range);
        Box::pin(async move {
            asked.opened().await;
            asked.bytes()
        })
    }

    fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, SourceError>> {
        let asked = self.ask(range);
        let first = self.0.gate.borrow().first as usize;
        let early = (first > 0).then(|| {
            let bytes = asked.bytes()?;
            Ok(bytes.slice(..first.min(bytes.len())))
        });
        let rest = async move {
            asked.opened().await;
            let bytes = asked.bytes()?;
            Ok(bytes.slice(first.min(bytes.len())..))
        };
        stream::iter(early).chain(stream::once(rest)).boxed()
    }
}

/// A layer, its zTOC, and what the tar really holds.
pub(crate) struct Fixture {
    pub(crate) blob: Vec<u8>,
    pub(crate) ztoc: PathBuf,
    pub(crate) tar: Vec<u8>,
    _dir: Option<TempDir>,
}

pub(crate) fn fixture(name: &str) -> Fixture {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let blob_name = if name == "pax-tar" {
        "pax.tar".to_owned()
    } else {
        format!("{name}.tar.gz")
    };
    let blob = std::fs::read(dir.join(blob_name)).unwrap();
    let mut tar = Vec::new();
    if name == "pax-tar" {
        tar.clone_from(&blob);
    } else {
        MultiGzDecoder::new(&blob[..])
            .read_to_end(&mut tar)
            .unwrap();
    }
    Fixture {
        blob,
        ztoc: dir.join(format!("{name}.ztoc")),
        tar,
        _dir: None,
    }
}

/// A plain tar of one file, in spans of equal size.
pub(crate) fn large_fixture(span: u64, spans: u32) -> Fixture {
    let size = u64::from(spans) * span - 4096;
    let mut tar = vec![0; 512];
    let mut put = |at: usize, text: &str| tar[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "large");
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = tar.iter().map(|byte| u32::from(*byte)).sum();
    tar[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    // No two places look alike.
    let mut state = 1_u64;
    while (tar.len() as u64) < 512 + size {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        tar.extend(&state.to_be_bytes());
    }
    tar.resize((u64::from(spans) * span) as usize, 0);
    let options = BuildOptions {
        cuts: Cuts::every(span),
        build_tool: String::new(),
        compression: Compression::Tar,
    };
    let mut builder = Builder::new(&options).unwrap();
    builder.push(&tar).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let ztoc = dir.path().join("ztoc");
    std::fs::write(&ztoc, builder.finish().unwrap().ztoc).unwrap();
    Fixture {
        blob: tar.clone(),
        ztoc,
        tar,
        _dir: Some(dir),
    }
}

impl Fixture {
    pub(crate) fn parse(&self) -> Ztoc {
        Ztoc::parse(&std::fs::read(&self.ztoc).unwrap(), &Limits::default()).unwrap()
    }

    pub(crate) fn spans(&self) -> SpanTable {
        self.parse().spans
    }

    pub(crate) fn toc(&self) -> Toc {
        self.parse().toc
    }

    /// Regular files with bytes: inode, place in the tar.
    pub(crate) fn files(&self) -> Vec<(Inode, Range<usize>)> {
        let toc = self.toc();
        let files = toc
            .iter()
            .filter(|(_, entry)| entry.kind() == Kind::Reg && entry.size() > 0);
        files
            .map(|(EntryId(id), entry)| {
                let start = entry.offset() as usize;
                (
                    Inode(u64::from(id) + 2),
                    start..start + entry.size() as usize,
                )
            })
            .collect()
    }

    /// A file that has bytes in several spans.
    pub(crate) fn large_file(&self) -> (Inode, Range<usize>) {
        let table = self.spans();
        let spans = |tar: &Range<usize>| table.covering(tar.start as u64..tar.end as u64).len();
        self.files()
            .into_iter()
            .max_by_key(|(_, tar)| spans(tar))
            .unwrap()
    }

    /// A file and a place in it whose span is `span`, with its header in the same span or not.
    pub(crate) fn place_in(&self, span: u32) -> (Inode, u64) {
        let range = self.spans().uncompressed(SpanId(span)).unwrap();
        let files = self.files();
        let inside = |tar: &Range<usize>| {
            let start = (tar.start as u64).max(range.start);
            (start < range.end.min(tar.end as u64)).then(|| start - tar.start as u64)
        };
        files
            .iter()
            .find_map(|(inode, tar)| inside(tar).map(|at| (*inode, at)))
            .unwrap()
    }
}

pub(crate) struct Bench {
    pub(crate) fixture: Fixture,
    pub(crate) blob: Arc<Blob>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) layer: Arc<Layer>,
    pub(crate) dir: TempDir,
}

/// Headers are not looked at, unless a test is about that: they would need further spans.
pub(crate) fn unchecked() -> Options {
    Options {
        disable_verification: true,
        ..Options::default()
    }
}

pub(crate) fn bench(name: &str, options: &Options) -> Bench {
    bench_with(name, options, CacheOptions::default())
}

pub(crate) fn bench_with(name: &str, options: &Options, cache: CacheOptions) -> Bench {
    bench_of(fixture(name), options, cache)
}

pub(crate) fn bench_of(fixture: Fixture, options: &Options, cache: CacheOptions) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let blob = Blob::new(fixture.blob.clone());
    let cache = Cache::open(&dir.path().join("cache"), cache).unwrap();
    let layer = open(&cache, &fixture, &blob, options);
    Bench {
        fixture,
        blob,
        cache,
        layer,
        dir,
    }
}

pub(crate) fn open(
    cache: &Arc<Cache>,
    fixture: &Fixture,
    blob: &Arc<Blob>,
    options: &Options,
) -> Arc<Layer> {
    open_as(cache, fixture, blob, options, &id(1, 2))
}

pub(crate) fn open_as(
    cache: &Arc<Cache>,
    fixture: &Fixture,
    blob: &Arc<Blob>,
    options: &Options,
    id: &LayerId,
) -> Arc<Layer> {
    let ztoc = fixture.parse();
    let windows = File::open(&fixture.ztoc).unwrap();
    let source = Arc::new(Shared(Arc::clone(blob)));
    Layer::open(
        cache,
        id.clone(),
        ztoc.toc,
        ztoc.spans,
        windows,
        source,
        options,
    )
    .unwrap()
}

pub(crate) fn digest(n: u64) -> Digest {
    format!("sha256:{n:064x}").parse().unwrap()
}

pub(crate) fn id(layer: u64, ztoc: u64) -> LayerId {
    LayerId {
        layer: digest(layer),
        ztoc: Some(digest(ztoc)),
        image: "example.org/image".into(),
    }
}

pub(crate) async fn read(
    layer: &Arc<Layer>,
    inode: Inode,
    offset: u64,
    size: u32,
) -> Result<Bytes, Error> {
    match layer.read(inode, offset, size) {
        Read::Ready(bytes) => Ok(bytes),
        Read::Failed(error) => Err(error),
        Read::Pending(pending) => pending.await,
    }
}

impl Bench {
    pub(crate) async fn read(&self, inode: Inode, offset: u64, size: u32) -> Result<Bytes, Error> {
        read(&self.layer, inode, offset, size).await
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        self.cache.metrics()
    }

    /// Every byte of every file, as the tar has it.
    pub(crate) async fn check_everything(&self) {
        check_everything(&self.layer, &self.fixture).await;
    }

    /// Every byte of the span's part of some file.
    pub(crate) async fn check_span(&self, span: u32) {
        let (inode, at) = self.fixture.place_in(span);
        let bytes = self.read(inode, at, 100).await.unwrap();
        assert_eq!(
            bytes,
            expected(&self.fixture, inode, at, 100),
            "span {span}"
        );
    }

    /// Until what was fetched is on disk and no flight is left.
    pub(crate) async fn settle(&self) {
        settle(&self.layer, self.fixture.spans().uncompressed_size()).await;
    }
}

/// Until so many requests have come in.
pub(crate) async fn until(bench: &Bench, requests: usize) {
    wait_for(
        || bench.blob.count() >= requests,
        || format!("{:?}", bench.blob.requests()),
    )
    .await;
}

/// A test that would wait for ever fails.
pub(crate) async fn wait_for(done: impl Fn() -> bool, otherwise: impl FnOnce() -> String) {
    for _ in 0..10_000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("{}", otherwise());
}

pub(crate) async fn settle(layer: &Arc<Layer>, resident: u64) {
    for _ in 0..1000 {
        if layer.progress().resident >= resident {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?} after five seconds", layer.progress());
}

pub(crate) fn expected(fixture: &Fixture, inode: Inode, offset: u64, size: u64) -> &[u8] {
    let files = fixture.files();
    let (_, tar) = files.iter().find(|(found, _)| *found == inode).unwrap();
    let start = (tar.start as u64 + offset).min(tar.end as u64) as usize;
    let end = (start as u64 + size).min(tar.end as u64) as usize;
    &fixture.tar[start..end]
}

pub(crate) async fn check_everything(layer: &Arc<Layer>, fixture: &Fixture) {
    for (inode, tar) in fixture.files() {
        let size = u32::try_from(tar.len()).unwrap() + 10;
        let bytes = read(layer, inode, 0, size).await.unwrap();
        assert!(bytes == fixture.tar[tar], "inode {inode}");
    }
}
