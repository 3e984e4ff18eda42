//! Layers that were pulled whole.

use crate::support::*;
use layer::{Cache, CacheOptions, Error, Layer, LayerId, Options};
use soci::ztoc::Limits;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

fn local_id() -> LayerId {
    LayerId {
        ztoc: None,
        ..id(1, 0)
    }
}

fn open_cache(dir: &Path) -> Arc<Cache> {
    // Smaller than the layer: local layers stay all the same.
    let options = CacheOptions {
        quota: 1000,
        ..CacheOptions::default()
    };
    Cache::open(dir, options).unwrap()
}

fn write(cache: &Arc<Cache>, tar: &[u8], piece: usize) {
    let mut writer = cache.local_writer(&digest(1)).unwrap();
    for piece in tar.chunks(piece) {
        writer.write(piece).unwrap();
    }
    assert_eq!(writer.commit().unwrap(), tar.len() as u64);
}

fn reopen(cache: &Arc<Cache>) -> Option<Arc<Layer>> {
    let toc = cache.scan_local(&digest(1), &Limits::default()).unwrap()?;
    Some(Layer::open_local(cache, local_id(), toc, &Options::default()).unwrap())
}

#[tokio::test]
async fn a_layer_pulled_whole_reads_as_its_tar_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = fixture("pax");
    let cache = open_cache(dir.path());
    write(&cache, &fixture.tar, 10_007);
    let layer = Layer::open_local(&cache, local_id(), fixture.toc(), &Options::default()).unwrap();
    check_everything(&layer, &fixture).await;
    assert!(layer.progress().complete);
    assert_eq!(cache.usage().disk, fixture.tar.len() as u64);
    drop((layer, cache));

    let cache = open_cache(dir.path());
    let layer = reopen(&cache).unwrap();
    check_everything(&layer, &fixture).await;
    assert_eq!(cache.usage().disk, fixture.tar.len() as u64);
}

#[tokio::test]
async fn an_unfinished_pull_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = open_cache(dir.path());
    let mut writer = cache.local_writer(&digest(1)).unwrap();
    writer.write(&vec![7; 3 << 20]).unwrap();
    assert!(
        cache
            .scan_local(&digest(1), &Limits::default())
            .unwrap()
            .is_none()
    );
    drop(writer);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    // One that the process did not survive.
    let mut writer = cache.local_writer(&digest(1)).unwrap();
    writer.write(&vec![7; 3 << 20]).unwrap();
    std::mem::forget(writer);
    let cache = open_cache(dir.path());
    assert_eq!(cache.usage().disk, 0);
    let left = std::fs::read_dir(dir.path().join(digest(1).digest()))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn damage_is_noticed_and_nothing_damaged_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = fixture("pax");
    let cache = open_cache(dir.path());
    write(&cache, &fixture.tar, 1 << 20);
    let layer = Layer::open_local(&cache, local_id(), fixture.toc(), &Options::default()).unwrap();
    let data = dir.path().join(digest(1).digest()).join("local/data");
    let data = std::fs::File::options().write(true).open(data).unwrap();
    data.write_all_at(b"rot", 70_000).unwrap();
    let (inode, _) = fixture.large_file();
    assert!(matches!(
        read(&layer, inode, 0, 10).await,
        Err(Error::Corrupt { .. })
    ));
    drop((layer, cache));

    let cache = open_cache(dir.path());
    assert!(reopen(&cache).is_none());
    assert_eq!(cache.usage().disk, 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_removed_layer_gives_its_bytes_back() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = fixture("pax");
    let cache = open_cache(dir.path());
    write(&cache, &fixture.tar, 1 << 20);
    let layer = reopen(&cache).unwrap();
    cache.remove_local(&digest(1)).unwrap();
    // Whoever still has it mounted reads on.
    check_everything(&layer, &fixture).await;
    drop(layer);
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    assert_eq!(cache.usage().disk, 0);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    cache.remove_local(&digest(1)).unwrap();
}
