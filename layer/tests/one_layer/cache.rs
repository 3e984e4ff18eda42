//! What is kept, what is given up, and what a bad disk does.

use crate::support::*;
use layer::{Cache, CacheOptions, Options, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn layer_dir(root: &Path) -> PathBuf {
    root.join(digest(1).digest()).join(digest(2).digest())
}

/// Everything is read, the process ends, and `change` happens to the files. How many requests does the next process make?
async fn check_restart(change: impl FnOnce(&Path), requests: usize, damaged: u64) {
    let Bench {
        fixture,
        blob,
        cache,
        layer,
        dir,
    } = bench("pax", &Options::default());
    check_everything(&layer, &fixture).await;
    settle(&layer, fixture.spans().uncompressed_size()).await;
    drop((layer, cache));
    let before = blob.count();
    let root = dir.path().join("cache");
    change(&layer_dir(&root));
    let cache = Cache::open(&root, CacheOptions::default()).unwrap();
    let layer = open(&cache, &fixture, &blob, &Options::default());
    check_everything(&layer, &fixture).await;
    check_everything(&layer, &fixture).await;
    assert_eq!(blob.count() - before, requests);
    assert_eq!(cache.metrics().cache_checksum_failures.get(), damaged);
}

#[tokio::test]
async fn a_restart_fetches_nothing_again() {
    check_restart(|_| {}, 0, 0).await;
}

#[tokio::test]
async fn a_rotten_cache_is_noticed_and_fetched_again() {
    let at = fixture("pax")
        .spans()
        .uncompressed(soci::spans::SpanId(2))
        .unwrap()
        .start
        + 100;
    let flip = |dir: &Path| {
        let data = std::fs::File::options()
            .read(true)
            .write(true)
            .open(dir.join("data"))
            .unwrap();
        let mut byte = [0];
        data.read_exact_at(&mut byte, at).unwrap();
        data.write_all_at(&[byte[0] ^ 1], at).unwrap();
    };
    check_restart(flip, 1, 1).await;
}

#[tokio::test]
async fn a_hole_in_the_cache_is_noticed_and_fetched_again() {
    // What a power cut leaves when the records reached the disk and the bytes did not.
    let punch = |dir: &Path| {
        let path = dir.join("data");
        let len = std::fs::metadata(&path).unwrap().len();
        std::fs::write(&path, []).unwrap();
        std::fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_len(len)
            .unwrap();
    };
    check_restart(punch, 5, 5).await;
}

#[tokio::test]
async fn files_that_are_not_ours_are_replaced() {
    // The first span for the small files, the others for the large one.
    for name in ["data", "spans"] {
        check_restart(
            |dir| std::fs::write(dir.join(name), b"short").unwrap(),
            2,
            0,
        )
        .await;
        check_restart(|dir| std::fs::remove_file(dir.join(name)).unwrap(), 2, 0).await;
    }
    let other_version = |dir: &Path| {
        let spans = std::fs::File::options()
            .write(true)
            .open(dir.join("spans"))
            .unwrap();
        spans.write_all_at(&[9], 8).unwrap();
    };
    check_restart(other_version, 2, 0).await;
}

#[tokio::test]
async fn nobody_else_can_read_the_cache() {
    let bench = bench("pax", &Options::default());
    bench.check_span(0).await;
    let mut dir = layer_dir(&bench.dir.path().join("cache"));
    for file in ["data", "spans"] {
        let mode = std::fs::metadata(dir.join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600, "{file}");
    }
    for _ in 0..3 {
        let mode = std::fs::metadata(&dir).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700, "{}", dir.display());
        dir.pop();
    }
}

#[tokio::test]
async fn another_index_of_the_same_layer_shares_nothing() {
    let bench = bench("pax", &unchecked());
    bench.check_span(1).await;
    let other = open_as(
        &bench.cache,
        &bench.fixture,
        &bench.blob,
        &unchecked(),
        &id(1, 3),
    );
    let (inode, at) = bench.fixture.place_in(1);
    read(&other, inode, at, 10).await.unwrap();
    assert_eq!(bench.blob.count(), 2);
}

#[tokio::test]
async fn what_the_last_user_leaves_the_next_one_finds() {
    let Bench {
        fixture,
        blob,
        cache,
        layer,
        dir: _dir,
    } = bench("pax", &unchecked());
    check_everything(&layer, &fixture).await;
    let total = fixture.spans().uncompressed_size();
    settle(&layer, total).await;
    let before = blob.count();
    assert_eq!(cache.usage().disk, total);
    drop(layer);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(cache.usage().disk, total);
    assert_eq!(cache.usage().memory, 0);
    let layer = open(&cache, &fixture, &blob, &unchecked());
    check_everything(&layer, &fixture).await;
    assert_eq!(blob.count(), before);
    assert_eq!(layer.progress().resident, total);
    assert!(layer.progress().complete);
}

#[tokio::test]
async fn without_a_disk_the_memory_is_the_cache() {
    let options = CacheOptions {
        disk: false,
        ..CacheOptions::default()
    };
    let bench = bench_with("pax", &unchecked(), options);
    bench.check_everything().await;
    let before = bench.blob.count();
    bench.check_everything().await;
    assert_eq!(bench.blob.count(), before);
    assert!(!layer_dir(&bench.dir.path().join("cache")).exists());
    assert!(bench.layer.progress().complete);
}

#[tokio::test]
async fn without_disk_and_memory_reads_go_on() {
    let options = CacheOptions {
        disk: false,
        memory: 0,
        ..CacheOptions::default()
    };
    let bench = bench_with("pax", &Options::default(), options);
    bench.check_everything().await;
}

#[tokio::test]
async fn layers_nobody_mounts_go_first() {
    let fixture = fixture("pax");
    let total = fixture.spans().uncompressed_size();
    let quota = total * 2 + total / 2;
    let options = CacheOptions {
        quota,
        memory: 0,
        ..CacheOptions::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let blob = Blob::new(fixture.blob.clone());
    let cache = Cache::open(dir.path(), options).unwrap();
    let mut mounted = Vec::new();
    for n in 1..=3 {
        let layer = open_as(&cache, &fixture, &blob, &unchecked(), &id(n, n));
        check_everything(&layer, &fixture).await;
        settle(&layer, total).await;
        if n != 1 {
            mounted.push(layer);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    let oldest = dir.path().join(digest(1).digest());
    while oldest.exists() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(cache.usage().disk, 2 * total);
    assert!(!oldest.exists());
    assert!(mounted.iter().all(|layer| layer.progress().complete));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eviction_never_shows_a_wrong_byte() {
    let fixture = Arc::new(fixture("pax"));
    let total = fixture.spans().uncompressed_size();
    // Two spans fit of the ten that are read.
    let options = CacheOptions {
        quota: total * 2 / 5,
        memory: 0,
        ..CacheOptions::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let blob = Blob::new(fixture.blob.clone());
    let cache = Cache::open(dir.path(), options).unwrap();
    let layers = [1, 2].map(|n| open_as(&cache, &fixture, &blob, &unchecked(), &id(n, n)));
    let files = Arc::new(fixture.files());
    let until = Instant::now() + Duration::from_secs(3);
    let readers: Vec<_> = (0..8u64)
        .map(|seed| {
            let (fixture, files) = (Arc::clone(&fixture), Arc::clone(&files));
            let layer = Arc::clone(&layers[(seed % 2) as usize]);
            tokio::spawn(async move {
                let mut random = seed * 7919 + 1;
                let mut reads = 0u64;
                while Instant::now() < until {
                    random = random
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    let (inode, tar) = &files[(random >> 33) as usize % files.len()];
                    let offset = (random >> 20) % tar.len() as u64;
                    let bytes = read(&layer, *inode, offset, 5000).await.unwrap();
                    let start = tar.start + offset as usize;
                    let end = (start + 5000).min(tar.end);
                    assert!(
                        bytes == fixture.tar[start..end],
                        "inode {inode} at {offset}"
                    );
                    reads += 1;
                }
                reads
            })
        })
        .collect();
    let mut reads = 0;
    for reader in readers {
        reads += reader.await.unwrap();
    }
    let metrics = cache.metrics();
    assert!(
        metrics.evicted_bytes.get() > 10 * total,
        "{reads} reads evicted too little"
    );
    assert!(metrics.hits.get() > 100, "{reads} reads never hit");
    // The last spans may still be on their way to the disk, and are counted before they are there.
    let resident = || -> u64 { layers.iter().map(|layer| layer.progress().resident).sum() };
    let settled = || cache.usage().disk <= total * 2 / 5 && cache.usage().disk == resident();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !settled() && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(cache.usage().disk <= total * 2 / 5, "{:?}", cache.usage());
    assert_eq!(cache.usage().disk, resident());
    println!(
        "{reads} reads, {} hits, {} bytes evicted",
        metrics.hits.get(),
        metrics.evicted_bytes.get()
    );
}

/// A file system of one MiB, gone with its last user.
struct Tiny(PathBuf);

impl Tiny {
    /// None without the right to mount.
    fn mount(dir: &Path) -> Option<Tiny> {
        use nix::mount::{MsFlags, mount};
        let options = Some("size=300k");
        mount(Some("tmpfs"), dir, Some("tmpfs"), MsFlags::empty(), options).ok()?;
        Some(Tiny(dir.to_owned()))
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_full_disk_costs_requests_not_errors() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_tiny) = Tiny::mount(dir.path()) else {
        eprintln!("skipped: mounting a tmpfs needs root");
        return;
    };
    let fixture = fixture("pax");
    let blob = Blob::new(fixture.blob.clone());
    let cache = Cache::open(
        dir.path(),
        CacheOptions {
            memory: 0,
            ..CacheOptions::default()
        },
    )
    .unwrap();
    let layer = open(&cache, &fixture, &blob, &Options::default());
    for _ in 0..3 {
        check_everything(&layer, &fixture).await;
    }
    // The last spans may still be on their way to the disk, and are counted before they are there.
    for _ in 0..1000 {
        let failed = cache.metrics().cache_write_failures.get() > 0;
        if failed && cache.usage().disk == layer.progress().resident {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(cache.metrics().cache_write_failures.get() > 0);
    assert_eq!(cache.usage().disk, layer.progress().resident);
    assert!(layer.progress().resident > 0);
    // Space comes back: the next misses are kept.
    let remount = nix::mount::MsFlags::MS_REMOUNT;
    nix::mount::mount(
        Some("tmpfs"),
        dir.path(),
        None::<&str>,
        remount,
        Some("size=10m"),
    )
    .unwrap();
    check_everything(&layer, &fixture).await;
    settle(&layer, fixture.spans().uncompressed_size()).await;
    let (inode, _) = fixture.large_file();
    assert!(matches!(layer.read(inode, 0, 10), Read::Ready(_)));
}

#[tokio::test]
async fn a_disk_that_takes_no_file_costs_requests_not_errors() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = fixture("pax");
    let blob = Blob::new(fixture.blob.clone());
    let cache = Cache::open(dir.path(), CacheOptions::default()).unwrap();
    // Where the layer's directory should be there is a file.
    std::fs::write(dir.path().join(digest(1).digest()), b"").unwrap();
    let layer = open(&cache, &fixture, &blob, &Options::default());
    check_everything(&layer, &fixture).await;
    assert!(cache.metrics().cache_write_failures.get() > 0);
}
