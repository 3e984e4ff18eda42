//! The snapshotter with layers whose fate the test decides.

#![allow(clippy::unwrap_used, clippy::panic)]

mod fake;
mod recovery;
mod server;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::error::Error;
use daemon::labels;
use daemon::layers::{Outcome, SnapshotId, Usage};
use daemon::snapshotter::{New, Recovered, Snapshotter};
use daemon::store::{Kind, Labels};
use fake::Fake;
use futures_util::future::join_all;
use tempfile::TempDir;

struct Bench {
    snapshotter: Snapshotter,
    layers: Arc<Fake>,
    root: TempDir,
}

impl Bench {
    fn new(outcome: Outcome) -> Bench {
        let root = tempfile::tempdir().unwrap();
        let layers = Arc::new(Fake::new(outcome));
        let snapshotter = Snapshotter::open(root.path(), Arc::clone(&layers) as _).unwrap();
        Bench {
            snapshotter,
            layers,
            root,
        }
    }

    /// As a new process would find it.
    async fn restart(self) -> (Bench, Recovered) {
        let Bench {
            snapshotter,
            layers,
            root,
        } = self;
        drop(snapshotter);
        layers.forget();
        let snapshotter = loop {
            // The cleanup a start begins may still hold the database.
            match Snapshotter::open(root.path(), Arc::clone(&layers) as _) {
                Ok(snapshotter) => break snapshotter,
                Err(Error::Database { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => panic!("{error}"),
            }
        };
        let recovered = snapshotter.recover().await.unwrap();
        (
            Bench {
                snapshotter,
                layers,
                root,
            },
            recovered,
        )
    }

    async fn prepare_layer(
        &self,
        key: &str,
        target: &str,
        parent: Option<&str>,
    ) -> Result<(), Error> {
        self.snapshotter
            .prepare(layer(key, target, parent))
            .await
            .map(drop)
    }

    /// A committed snapshot of plain files.
    async fn plain(&self, name: &str, parent: Option<&str>) {
        let key = format!("{name}-key");
        self.snapshotter.prepare(new(&key, parent)).await.unwrap();
        self.snapshotter
            .commit(key, name.into(), None, Labels::new())
            .await
            .unwrap();
    }

    async fn names(&self, filter: &str) -> Vec<String> {
        let records = self.snapshotter.list(vec![filter.into()]).await.unwrap();
        records.into_iter().map(|record| record.key).collect()
    }

    fn directory(&self, id: u64) -> std::path::PathBuf {
        self.root.path().join("snapshots").join(id.to_string())
    }

    fn directories(&self) -> usize {
        fs::read_dir(self.root.path().join("snapshots"))
            .unwrap()
            .count()
    }
}

fn new(key: &str, parent: Option<&str>) -> New {
    New {
        key: key.into(),
        parent: parent.map(Into::into),
        labels: Labels::new(),
        namespace: Some("ns".into()),
    }
}

fn layer(key: &str, target: &str, parent: Option<&str>) -> New {
    let labels = [(labels::REF, target), (labels::LAYER_DIGEST, "sha256:l")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    New {
        labels: labels.into(),
        ..new(key, parent)
    }
}

#[track_caller]
fn check<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    let text = match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(text.contains(expected), "{text:?} instead of {expected:?}");
}

#[tokio::test]
async fn a_container_that_is_made_or_started_is_told_with_its_image_and_layers() {
    let bench = Bench::new(Outcome::Remote);
    for (key, target, parent) in [
        ("k1", "sha256:a", None),
        ("k2", "sha256:b", Some("sha256:a")),
    ] {
        let mut request = layer(key, target, parent);
        let manifest = labels::MANIFEST_DIGEST.to_owned();
        request
            .labels
            .insert(manifest, format!("manifest of {target}"));
        check(bench.snapshotter.prepare(request).await.map(drop), target);
    }
    assert_eq!(bench.layers.started(), [], "a layer is no container");
    let view = new("view", Some("sha256:b"));
    bench.snapshotter.view(view).await.unwrap();
    bench.snapshotter.mounts("view".into()).await.unwrap();
    assert_eq!(bench.layers.started(), [], "nor is a view");
    let container = new("container", Some("sha256:b"));
    bench.snapshotter.prepare(container).await.unwrap();
    bench.snapshotter.mounts("container".into()).await.unwrap();
    let start = (
        Some("manifest of sha256:b".to_owned()),
        vec![SnapshotId(2), SnapshotId(1)],
    );
    assert_eq!(bench.layers.started(), [start.clone(), start]);
}

#[tokio::test]
async fn a_lazily_mounted_layer_is_there_under_the_name_containerd_wants() {
    let bench = Bench::new(Outcome::Remote);
    check(
        bench.prepare_layer("ns/1/k", "sha256:a", None).await,
        r#"target snapshot "sha256:a""#,
    );
    check(
        bench
            .prepare_layer("ns/2/k", "sha256:b", Some("sha256:a"))
            .await,
        "target snapshot",
    );
    let found = bench
        .names(r#"labels."containerd.io/snapshot.ref"==sha256:b,parent=="sha256:a""#)
        .await;
    assert_eq!(found, ["sha256:b"]);
    let record = bench.snapshotter.stat("sha256:b".into()).await.unwrap();
    assert_eq!(record.kind, Kind::Committed);
    let expected = [
        (labels::REF, "sha256:b"),
        (labels::LAYER_DIGEST, "sha256:l"),
        (labels::REMOTE, "remote snapshot"),
        (labels::NAMESPACE, "ns"),
        (labels::HAS_INDEX, "true"),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(record.labels, Labels::from(expected));
    check(
        bench.snapshotter.stat("ns/2/k".into()).await,
        "does not exist",
    );
}

#[tokio::test]
async fn a_layer_that_was_pulled_whole_is_not_called_remote() {
    let bench = Bench::new(Outcome::Local {
        reason: "no zTOC".to_owned(),
    });
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    let record = bench.snapshotter.stat("sha256:a".into()).await.unwrap();
    assert_eq!(
        record.labels.get(labels::NAMESPACE).map(String::as_str),
        Some("ns")
    );
    assert!(
        !record.labels.contains_key(labels::REMOTE),
        "{:?}",
        record.labels
    );
    assert!(
        !record.labels.contains_key(labels::HAS_INDEX),
        "{:?}",
        record.labels
    );
}

#[tokio::test]
async fn many_clients_of_one_layer_cause_one_mount() {
    let bench = Bench::new(Outcome::Remote);
    bench.layers.take(Duration::from_millis(50));
    let keys: Vec<String> = (0..256).map(|i| format!("k{i}")).collect();
    let all = keys
        .iter()
        .map(|key| bench.prepare_layer(key, "sha256:a", None));
    for result in join_all(all).await {
        check(result, "target snapshot");
    }
    assert_eq!(bench.layers.prepared(), 1);
    assert_eq!(bench.names("").await, ["sha256:a"]);
    assert_eq!(bench.directories(), 1);
}

#[tokio::test]
async fn clients_of_a_deferred_layer_each_unpack_their_own() {
    let bench = Bench::new(Outcome::Deferred {
        reason: "no index".into(),
    });
    bench.layers.take(Duration::from_millis(50));
    let keys: Vec<String> = (0..64).map(|i| format!("k{i}")).collect();
    let all = keys
        .iter()
        .map(|key| bench.prepare_layer(key, "sha256:a", None));
    for result in join_all(all).await {
        check(result, "ok");
    }
    assert_eq!(
        bench.layers.prepared(),
        1,
        "one decision serves all who ask the same"
    );
    assert_eq!(bench.names("kind==active").await.len(), 64);
}

#[tokio::test]
async fn an_image_with_an_index_is_not_bound_by_one_without() {
    let bench = Bench::new(Outcome::Deferred {
        reason: "no index".into(),
    });
    bench.layers.take(Duration::from_millis(50));
    let mut other = layer("k2", "sha256:a", None);
    other
        .labels
        .insert(labels::MANIFEST_DIGEST.into(), "sha256:other".into());
    let first = bench.prepare_layer("k1", "sha256:a", None);
    let second = async {
        while bench.layers.prepared() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        bench.layers.decide(Outcome::Remote);
        bench.snapshotter.prepare(other).await
    };
    let (first, second) = tokio::join!(first, second);
    check(first, "ok");
    check(second, "target snapshot");
    assert_eq!(bench.layers.prepared(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_take_the_layer_with_it() {
    let bench = Bench::new(Outcome::Remote);
    bench.layers.take(Duration::from_millis(100));
    let leaving = tokio::time::timeout(
        Duration::from_millis(20),
        bench.prepare_layer("k1", "sha256:a", None),
    );
    assert!(leaving.await.is_err(), "the client leaves first");
    check(
        bench.prepare_layer("k2", "sha256:a", None).await,
        "target snapshot",
    );
    assert_eq!(bench.layers.prepared(), 1);
}

#[tokio::test]
async fn a_preparation_that_dies_is_taken_up_by_another() {
    let bench = Bench::new(Outcome::Remote);
    bench.layers.take(Duration::from_millis(20));
    bench.layers.die_once();
    let (first, second) = tokio::join!(
        bench.prepare_layer("k1", "sha256:a", None),
        bench.prepare_layer("k2", "sha256:a", None),
    );
    check(first, "cut off");
    check(second, "target snapshot");
}

#[tokio::test]
async fn namespaces_that_name_a_parent_differently_both_get_the_layer() {
    let bench = Bench::new(Outcome::Remote);
    bench.plain("one/1/sha256:a", None).await;
    bench.plain("two/2/sha256:a", None).await;
    for (key, parent) in [
        ("k1", "one/1/sha256:a"),
        ("k2", "two/2/sha256:a"),
        ("k3", "two/2/sha256:a"),
    ] {
        check(
            bench.prepare_layer(key, "sha256:b", Some(parent)).await,
            "target snapshot",
        );
        let filter = format!(r#"labels."containerd.io/snapshot.ref"==sha256:b,parent=="{parent}""#);
        assert_eq!(bench.names(&filter).await.len(), 1, "{parent}");
    }
    assert_eq!(bench.layers.prepared(), 2);
}

#[tokio::test]
async fn containers_wait_for_layers_that_cannot_be_read() {
    let bench = Bench::new(Outcome::Remote);
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    check(
        bench.snapshotter.prepare(new("c", Some("sha256:a"))).await,
        "ok",
    );
    bench.layers.refuse(true);
    let (bench, recovered) = bench.restart().await;
    assert_eq!(
        recovered,
        Recovered {
            snapshots: 2,
            restored: 0,
            failed: 1
        }
    );
    check(
        bench.snapshotter.mounts("c".into()).await,
        "cannot be read now: refused",
    );
    check(
        bench.snapshotter.prepare(new("d", Some("sha256:a"))).await,
        "cannot be read now",
    );
    check(
        bench.snapshotter.view(new("v", Some("sha256:a"))).await,
        "cannot be read now",
    );
    check(bench.snapshotter.stat("d".into()).await, "does not exist");
    bench.layers.refuse(false);
    check(bench.snapshotter.mounts("c".into()).await, "ok");
    check(
        bench.snapshotter.view(new("v", Some("sha256:a"))).await,
        "ok",
    );
}

#[tokio::test]
async fn removing_a_layer_unmounts_it_at_the_next_cleanup() {
    let bench = Bench::new(Outcome::Remote);
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    bench.snapshotter.remove("sha256:a".into()).await.unwrap();
    assert_eq!(
        bench.layers.live(),
        [SnapshotId(1)],
        "removing does not wait for an unmount"
    );
    let (first, second) = tokio::join!(bench.snapshotter.cleanup(), bench.snapshotter.cleanup());
    first.and(second).unwrap();
    assert_eq!(bench.layers.live(), []);
    assert_eq!(bench.directories(), 0);
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    assert_eq!(bench.layers.live(), [SnapshotId(2)]);
}

#[tokio::test]
async fn the_space_of_a_mounted_layer_is_that_of_its_cache() {
    let bench = Bench::new(Outcome::Remote);
    check(
        bench.prepare_layer("k", "sha256:a", None).await,
        "target snapshot",
    );
    let usage = bench.snapshotter.usage("sha256:a".into()).await.unwrap();
    assert_eq!(
        usage,
        Usage {
            inodes: 3,
            bytes: 4096
        }
    );
}

#[tokio::test]
async fn mapped_ids_are_refused_rather_than_ignored() {
    let bench = Bench::new(Outcome::Remote);
    for label in [labels::UID_MAPPING, labels::GID_MAPPING] {
        let mut request = new("k", None);
        request.labels.insert(label.into(), "0:100000:65536".into());
        check(
            bench.snapshotter.prepare(request.clone()).await,
            "mapped user or group IDs",
        );
        check(
            bench.snapshotter.view(request).await,
            "mapped user or group IDs",
        );
    }
    assert_eq!(bench.directories(), 0);
}

#[tokio::test]
async fn the_root_of_a_container_looks_like_that_of_its_image() {
    let bench = Bench::new(Outcome::Remote);
    bench.plain("base", None).await;
    let below = bench.directory(1).join("fs");
    assert_eq!(mode(&below), 0o755);
    fs::set_permissions(&below, fs::Permissions::from_mode(0o1751)).unwrap();
    let root = nix::unistd::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&below, Some(1000), Some(1001)).unwrap();
    }
    bench
        .snapshotter
        .prepare(new("c", Some("base")))
        .await
        .unwrap();
    let above = bench.directory(2).join("fs");
    assert_eq!(mode(&above), 0o1751);
    let owner = fs::metadata(&above)
        .map(|seen| (seen.uid(), seen.gid()))
        .unwrap();
    let expected = fs::metadata(&below)
        .map(|seen| (seen.uid(), seen.gid()))
        .unwrap();
    assert_eq!(owner, expected);
}

#[tokio::test]
async fn nobody_else_looks_into_the_state_directory() {
    let bench = Bench::new(Outcome::Remote);
    bench.snapshotter.prepare(new("c", None)).await.unwrap();
    let root = bench.root.path();
    for directory in [
        root,
        &root.join("snapshots"),
        &root.join("empty"),
        &bench.directory(1),
    ] {
        assert_eq!(mode(directory), 0o700, "{directory:?}");
    }
    assert_eq!(mode(&bench.directory(1).join("work")), 0o711);
    assert_eq!(mode(&root.join("snapshots.redb")), 0o600);
}

#[tokio::test]
async fn a_root_that_overlay_cannot_name_is_refused_at_start() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["a:b", "a,b", "a\\b"] {
        let opened = Snapshotter::open(
            &parent.path().join(name),
            Arc::new(Fake::new(Outcome::Remote)),
        );
        check(opened.map(drop), "overlay mounts cannot take");
    }
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}
