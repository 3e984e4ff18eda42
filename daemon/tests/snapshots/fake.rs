//! Layers that are mounted in name only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::layers::{Layers, Outcome, SnapshotId, Unavailable, Usage};
use futures_util::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;

pub(crate) struct Fake(Mutex<State>);

struct State {
    outcome: Outcome,
    takes: Duration,
    dies: bool,
    refuses: bool,
    prepared: u32,
    live: BTreeSet<SnapshotId>,
    started: Vec<(Option<String>, Vec<SnapshotId>)>,
}

impl Fake {
    pub(crate) fn new(outcome: Outcome) -> Fake {
        Fake(Mutex::new(State {
            outcome,
            takes: Duration::ZERO,
            dies: false,
            refuses: false,
            prepared: 0,
            live: BTreeSet::new(),
            started: Vec::new(),
        }))
    }

    pub(crate) fn decide(&self, outcome: Outcome) {
        self.0.lock().outcome = outcome;
    }

    pub(crate) fn take(&self, time: Duration) {
        self.0.lock().takes = time;
    }

    pub(crate) fn die_once(&self) {
        self.0.lock().dies = true;
    }

    pub(crate) fn refuse(&self, refuses: bool) {
        self.0.lock().refuses = refuses;
    }

    pub(crate) fn forget(&self) {
        self.0.lock().live.clear();
    }

    pub(crate) fn prepared(&self) -> u32 {
        self.0.lock().prepared
    }

    /// Of every start: the manifest that its image's top layer came with, and the layers.
    pub(crate) fn started(&self) -> Vec<(Option<String>, Vec<SnapshotId>)> {
        self.0.lock().started.clone()
    }

    pub(crate) fn live(&self) -> Vec<SnapshotId> {
        self.0.lock().live.iter().copied().collect()
    }
}

impl Layers for Fake {
    fn prepare<'a>(
        &'a self,
        id: SnapshotId,
        fs: PathBuf,
        _namespace: &'a str,
        _labels: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Outcome> {
        let (outcome, takes, dies) = {
            let mut state = self.0.lock();
            state.prepared += 1;
            (
                state.outcome.clone(),
                state.takes,
                std::mem::take(&mut state.dies),
            )
        };
        async move {
            tokio::time::sleep(takes).await;
            assert!(!dies, "told to die");
            assert!(fs.is_dir(), "{fs:?} is there to be mounted on");
            if !matches!(outcome, Outcome::Deferred { .. }) {
                self.0.lock().live.insert(id);
            }
            outcome
        }
        .boxed()
    }

    fn remove(&self, id: SnapshotId, fs: &Path) {
        if self.0.lock().live.remove(&id) {
            assert!(fs.is_dir(), "{fs:?} is unmounted before it is deleted");
        }
    }

    fn usage(&self, id: SnapshotId) -> Option<Usage> {
        let usage = Usage {
            inodes: 3,
            bytes: 4096,
        };
        self.0.lock().live.contains(&id).then_some(usage)
    }

    fn restore<'a>(
        &'a self,
        id: SnapshotId,
        fs: PathBuf,
        _labels: &'a BTreeMap<String, String>,
    ) -> BoxFuture<'a, Result<(), Unavailable>> {
        let mut state = self.0.lock();
        let result = match state.refuses {
            true => Err(Unavailable("refused".into())),
            false => {
                assert!(fs.is_dir(), "{fs:?} is there to be mounted on");
                state.live.insert(id);
                Ok(())
            }
        };
        std::future::ready(result).boxed()
    }

    fn starting(&self, image: &BTreeMap<String, String>, layers: &[SnapshotId]) {
        let image = image.get(daemon::labels::MANIFEST_DIGEST).cloned();
        self.0.lock().started.push((image, layers.to_vec()));
    }
}
