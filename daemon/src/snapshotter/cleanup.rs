//! Directories and records brought in step: after a start, and after snapshots were removed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;

use super::{Inner, Snapshotter};
use crate::error::Error;
use crate::filter::Filter;
use crate::layers::SnapshotId;
use crate::mountinfo::MountInfo;
use crate::store::{Backing, Kind, Record};

/// Layers that are made to answer again at the same time.
const RESTORED_AT_ONCE: usize = 8;

/// What was found at a start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    pub snapshots: usize,
    /// Mounted layers that answer again.
    pub restored: usize,
    /// Those that do not; their containers cannot start until they do.
    pub failed: usize,
}

impl Snapshotter {
    /// Once, before the first request: makes mounted layers answer again, without the network.
    pub async fn recover(&self) -> Result<Recovered, Error> {
        let records = self.blocking(|inner| inner.reconcile()).await?;
        let mounted: Vec<&Record> = records
            .iter()
            .filter(|record| record.backing != Backing::Plain)
            .collect();
        let restored = stream::iter(&mounted)
            .map(|record| async move {
                let fs = self.0.disk.fs(record.id);
                let result = self.0.layers.restore(record.id, fs, &record.labels).await;
                if let Err(reason) = &result {
                    let snapshot = record.id.0;
                    tracing::warn!(target: "daemon", snapshot, key = ?record.key, %reason, "a layer is not mounted");
                }
                result.is_ok()
            })
            .buffer_unordered(RESTORED_AT_ONCE)
            .filter(|restored| std::future::ready(*restored))
            .count()
            .await;
        // What a crash left behind is nothing a client has to wait for.
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(error) = this.cleanup().await {
                tracing::warn!(target: "daemon", %error, "cannot clean up after the last run");
            }
        });
        Ok(Recovered {
            snapshots: records.len(),
            restored,
            failed: mounted.len().saturating_sub(restored),
        })
    }

    /// Gives back what removed snapshots took up. May be called at any time, also twice at once.
    pub async fn cleanup(&self) -> Result<(), Error> {
        self.blocking(|inner| inner.cleanup()).await
    }
}

impl Inner {
    fn cleanup(self: &Arc<Self>) -> Result<(), Error> {
        let present = self.disk.list()?;
        let known = self.store.ids()?;
        let orphans: Vec<Claim> = present
            .difference(&known)
            .filter_map(|id| Claim::take(self, *id))
            .collect();
        if orphans.is_empty() {
            return Ok(());
        }
        // Again, now that they are claimed: one may just have been made and recorded.
        let known = self.store.ids()?;
        let mounts = MountInfo::read().map_err(Error::io("read", Path::new(MountInfo::PATH)))?;
        let in_use = self.disk.in_use(&mounts);
        for orphan in orphans {
            let id = orphan.id;
            if known.contains(&id) {
                continue;
            }
            if in_use.contains(&id) {
                tracing::warn!(target: "daemon", snapshot = id.0, "a removed snapshot is still in use");
                continue;
            }
            self.give_back(id);
        }
        Ok(())
    }

    /// Unmounts and deletes; what cannot be deleted now is left to the next cleanup.
    pub(super) fn give_back(&self, id: SnapshotId) {
        self.layers.remove(id, &self.disk.fs(id));
        if let Err(error) = self.disk.remove(id) {
            tracing::warn!(target: "daemon", snapshot = id.0, %error, "a removed snapshot still takes up space");
        }
    }

    /// Every record gets its directory, or goes.
    fn reconcile(&self) -> Result<Vec<Record>, Error> {
        let present = self.disk.list()?;
        let mut records = self.store.select(&Filter::parse(&[])?)?;
        // Children before their parents, which have lower numbers.
        records.sort_by_key(|record| std::cmp::Reverse(record.id));
        let mut kept = Vec::with_capacity(records.len());
        for record in records {
            if present.contains(&record.id) || self.repair(&record)? {
                kept.push(record);
            }
        }
        Ok(kept)
    }

    /// Somebody deleted the directory. A mount point is easily made again; files are lost, and
    /// containerd had better learn that the snapshot is.
    fn repair(&self, record: &Record) -> Result<bool, Error> {
        let (snapshot, key) = (record.id.0, &record.key);
        if record.backing != Backing::Plain {
            self.disk.create(record.id, Kind::Committed, None)?;
            tracing::warn!(target: "daemon", snapshot, ?key, "made the missing mount point of a layer");
            return Ok(true);
        }
        match self.store.remove(key) {
            Ok(_) => {
                tracing::error!(target: "daemon", snapshot, ?key, "dropped a snapshot whose directory is gone; pull its image again");
                Ok(false)
            }
            Err(Error::HasChildren(_)) => {
                tracing::error!(target: "daemon", snapshot, ?key, "the directory of a snapshot is gone; remove the image that uses it");
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }
}

/// Exclusive right to make or delete the directory of a snapshot.
pub(super) struct Claim {
    inner: Arc<Inner>,
    id: SnapshotId,
}

impl Claim {
    /// `None` when somebody else has it.
    pub(super) fn take(inner: &Arc<Inner>, id: SnapshotId) -> Option<Claim> {
        let claimed: &mut BTreeSet<SnapshotId> = &mut inner.claimed.lock();
        claimed.insert(id).then(|| Claim {
            inner: Arc::clone(inner),
            id,
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.inner.claimed.lock().remove(&self.id);
    }
}
