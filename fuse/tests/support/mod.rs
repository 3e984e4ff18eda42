//! Layers to mount in tests, and mounts that go away with the test whatever happens.

#![allow(dead_code)] // each test binary uses its part

pub(crate) mod program;
pub(crate) mod tar;

use std::fs::{self, File, Permissions};
use std::future;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fuse::{Counters, Mount, Options};
use layer::{Cache, CacheOptions, Layer, LayerId, Source, SourceError};
use nix::mount::{MntFlags, umount2};
use soci::ztoc::{Limits, Ztoc};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

pub(crate) type Answer =
    std::pin::Pin<Box<dyn Future<Output = Result<Bytes, SourceError>> + Send + 'static>>;

/// Has everything, and answers after a while.
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    pub(crate) delay: Duration,
}

impl Source for Whole {
    fn read(&self, range: Range<u64>) -> Answer {
        let bytes = self.bytes.slice(range.start as usize..range.end as usize);
        let delay = self.delay;
        Box::pin(async move {
            if !delay.is_zero() {
                tokio::time::sleep(delay).await;
            }
            Ok(bytes)
        })
    }
}

/// A registry behind a black hole.
pub(crate) struct Silent;

impl Source for Silent {
    fn read(&self, _: Range<u64>) -> Answer {
        Box::pin(future::pending())
    }
}

/// A mounted layer.
pub(crate) struct Mounted {
    pub(crate) path: PathBuf,
    /// World-readable, so that only the mount itself can deny anything.
    pub(crate) dir: TempDir,
    pub(crate) mount: Option<Mount>,
    pub(crate) layer: Arc<Layer>,
    runtime: Runtime,
}

impl Mounted {
    pub(crate) fn counters(&self) -> &Arc<Counters> {
        self.mount.as_ref().unwrap().counters()
    }

    pub(crate) fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.path.join(path)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // MNT_FORCE aborts this connection, so that nobody is left waiting in it.
        let _ = umount2(&self.path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
    }
}

pub(crate) fn blob(name: &str) -> Bytes {
    let compressed = fixture(&format!("{name}.tar.gz"));
    let path = if compressed.exists() {
        compressed
    } else {
        fixture(&format!("{name}.tar"))
    };
    fs::read(path).unwrap().into()
}

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// The uncompressed tar of a fixture.
pub(crate) fn uncompressed(name: &str) -> Vec<u8> {
    let blob = blob(name);
    let mut tar = Vec::new();
    if blob.starts_with(&[0x1f, 0x8b]) {
        flate2::read::MultiGzDecoder::new(&blob[..])
            .read_to_end(&mut tar)
            .unwrap();
    } else {
        tar = blob.to_vec();
    }
    tar
}

/// Mounts a layer that has a zTOC.
pub(crate) fn mount(name: &str, source: impl Source, options: &Options) -> Mounted {
    let dir = scratch();
    let ztoc = fixture(&format!("{name}.ztoc"));
    let parsed = Ztoc::parse(&fs::read(&ztoc).unwrap(), &Limits::default()).unwrap();
    let runtime = runtime();
    let guard = runtime.enter();
    let cache = Cache::open(&dir.path().join("cache"), CacheOptions::default()).unwrap();
    let layer = Layer::open(
        &cache,
        id(),
        parsed.toc,
        parsed.spans,
        File::open(&ztoc).unwrap(),
        Arc::new(source),
        &layer::Options::default(),
    )
    .unwrap();
    drop(guard);
    finish(dir, layer, options, runtime)
}

/// A fixture whose source has everything at once.
pub(crate) fn mount_whole(name: &str) -> Mounted {
    let source = Whole {
        bytes: blob(name),
        delay: Duration::ZERO,
    };
    mount(name, source, &Options::default())
}

/// Mounts a tar that is all there.
pub(crate) fn mount_tar(tar: &[u8], options: &Options) -> Mounted {
    let dir = scratch();
    let runtime = runtime();
    let guard = runtime.enter();
    let cache = Cache::open(&dir.path().join("cache"), CacheOptions::default()).unwrap();
    let id = LayerId { ztoc: None, ..id() };
    let mut writer = cache.local_writer(&id.layer).unwrap();
    writer.write(tar).unwrap();
    writer.commit().unwrap();
    let toc = cache
        .scan_local(&id.layer, &Limits::default())
        .unwrap()
        .unwrap();
    let layer = Layer::open_local(&cache, id, toc, &layer::Options::default()).unwrap();
    drop(guard);
    finish(dir, layer, options, runtime)
}

fn finish(dir: TempDir, layer: Arc<Layer>, options: &Options, runtime: Runtime) -> Mounted {
    let path = dir.path().join("mount");
    fs::create_dir(&path).unwrap();
    let mount = Mount::new(Arc::clone(&layer), &path, options, runtime.handle().clone()).unwrap();
    Mounted {
        path,
        dir,
        mount: Some(mount),
        layer,
        runtime,
    }
}

fn id() -> LayerId {
    let digest = format!("sha256:{}", "0".repeat(64));
    LayerId {
        layer: digest.parse().unwrap(),
        ztoc: Some(digest.parse().unwrap()),
        image: "test".to_owned(),
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// Fails, rather than skips, where nothing can be mounted.
fn scratch() -> TempDir {
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests mount filesystems: run them as root"
    );
    assert!(
        Path::new("/dev/fuse").exists(),
        "these tests need /dev/fuse: load the fuse module"
    );
    tempfile::Builder::new()
        .prefix("fuse-test-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

/// Waits for something that happens elsewhere.
#[track_caller]
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !happened() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "not within 10 s: {what}"
        );
        std::thread::sleep(Duration::from_micros(200));
    }
    start.elapsed()
}
