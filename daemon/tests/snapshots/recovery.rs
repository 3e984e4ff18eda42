//! What a new process makes of what an old one left.

use std::fs;
use std::time::Duration;

use daemon::layers::{Outcome, SnapshotId};
use daemon::snapshotter::Recovered;

use crate::{Bench, check};

#[tokio::test]
async fn a_restart_brings_back_mounted_layers_and_only_those() {
    let bench = Bench::new(Outcome::Remote);
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    bench.layers.decide(Outcome::Local {
        reason: "no zTOC".to_owned(),
    });
    check(
        bench.prepare_layer("k", "sha256:b", Some("sha256:a")).await,
        "target snapshot",
    );
    bench.plain("plain", Some("sha256:b")).await;
    let (bench, recovered) = bench.restart().await;
    assert_eq!(
        recovered,
        Recovered {
            snapshots: 3,
            restored: 2,
            failed: 0
        }
    );
    let expected = [SnapshotId(1), SnapshotId(2)];
    assert_eq!(bench.layers.live(), expected);
}

#[tokio::test]
async fn a_mount_point_that_is_gone_is_made_again() {
    let bench = Bench::new(Outcome::Remote);
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    fs::remove_dir_all(bench.directory(1)).unwrap();
    let (bench, recovered) = bench.restart().await;
    assert_eq!(
        recovered,
        Recovered {
            snapshots: 1,
            restored: 1,
            failed: 0
        }
    );
    assert!(bench.directory(1).join("fs").is_dir());
}

#[tokio::test]
async fn a_snapshot_whose_files_are_gone_is_gone_unless_others_need_it() {
    let bench = Bench::new(Outcome::Remote);
    bench.plain("lonely", None).await;
    bench.plain("base", None).await;
    bench.plain("child", Some("base")).await;
    bench.plain("whole", None).await;
    bench.plain("top", Some("whole")).await;
    for id in [1, 2, 5] {
        fs::remove_dir_all(bench.directory(id)).unwrap();
    }
    let (bench, _) = bench.restart().await;
    assert_eq!(bench.names("").await, ["base", "child", "whole"]);
}

#[tokio::test]
async fn what_a_crash_left_behind_is_deleted_and_its_number_not_used_again() {
    let bench = Bench::new(Outcome::Remote);
    bench.plain("base", None).await;
    fs::create_dir_all(bench.directory(77).join("fs")).unwrap();
    fs::create_dir_all(bench.root.path().join("snapshots/lost+found")).unwrap();
    let (bench, _) = bench.restart().await;
    bench.plain("next", None).await;
    assert_eq!(
        bench.snapshotter.stat("next".into()).await.unwrap().id,
        SnapshotId(78)
    );
    bench.snapshotter.cleanup().await.unwrap();
    for _ in 0..200 {
        if !bench.directory(77).exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!bench.directory(77).exists());
    assert!(bench.directory(1).exists() && bench.directory(78).exists());
    assert!(bench.root.path().join("snapshots/lost+found").exists());
}
