//! The verbs of a containerd snapshotter.

mod cleanup;
mod layer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::types::Mount;

use self::cleanup::Claim;
use self::layer::{Landing, Target};
use crate::disk::Disk;
use crate::error::Error;
use crate::filter::Filter;
use crate::flights::Flights;
use crate::labels;
use crate::layers::{Layers, SnapshotId, Usage};
use crate::overlay::{self, Lower, Place};
use crate::store::{Backing, Chain, Committed, Kind, Labels, Record, Store};

pub use self::cleanup::Recovered;

/// A request for a new active snapshot or a view.
#[derive(Clone, Debug)]
pub struct New {
    pub key: String,
    pub parent: Option<String>,
    pub labels: Labels,
    /// containerd's namespace, of the client that asks.
    pub namespace: Option<String>,
}

#[derive(Clone)]
pub struct Snapshotter(Arc<Inner>);

struct Inner {
    store: Store,
    disk: Disk,
    layers: Arc<dyn Layers>,
    userxattr: bool,
    flights: Flights<Target, Landing>,
    /// Snapshots whose directories are being made or deleted right now.
    claimed: Mutex<BTreeSet<SnapshotId>>,
}

impl Snapshotter {
    /// `root` is the directory of the snapshotter alone. Blocks.
    pub fn open(root: &Path, layers: Arc<dyn Layers>) -> Result<Snapshotter, Error> {
        let disk = Disk::open(root)?;
        let store = Store::open(disk.database())?;
        if let Some(last) = disk.list()?.last() {
            store.skip(*last);
        }
        Ok(Snapshotter(Arc::new(Inner {
            store,
            disk,
            layers,
            userxattr: overlay::needs_userxattr(),
            flights: Flights::default(),
            claimed: Mutex::default(),
        })))
    }

    pub async fn prepare(&self, new: New) -> Result<Vec<Mount>, Error> {
        refuse_id_mapping(&new)?;
        match new.labels.get(labels::REF).cloned() {
            Some(target) if !target.is_empty() => self.prepare_layer(target, new).await,
            _ => {
                let chain = self.create(Kind::Active, new).await?;
                self.starting(&chain);
                Ok(self.mount(&chain))
            }
        }
    }

    pub async fn view(&self, new: New) -> Result<Vec<Mount>, Error> {
        refuse_id_mapping(&new)?;
        let chain = self.create(Kind::View, new).await?;
        Ok(self.mount(&chain))
    }

    pub async fn mounts(&self, key: String) -> Result<Vec<Mount>, Error> {
        let chain = self.blocking(move |inner| inner.store.chain(&key)).await?;
        if chain.top.kind == Kind::Committed {
            return Err(Error::NotMountable(chain.top.key));
        }
        self.serve(&chain.top.key, &chain.lowers).await?;
        self.starting(&chain);
        Ok(self.mount(&chain))
    }

    /// Makes the active snapshot `key` permanent as `name`.
    pub async fn commit(
        &self,
        key: String,
        name: String,
        parent: Option<String>,
        labels: Labels,
    ) -> Result<(), Error> {
        self.blocking(move |inner| {
            let active = inner.store.get(&key)?;
            let usage = match active.kind {
                Kind::Active => inner.disk.usage(active.id)?,
                // The store says what is wrong.
                Kind::View | Kind::Committed => Usage::default(),
            };
            let committed = Committed {
                name: &name,
                parent: parent.as_deref(),
                labels,
                usage,
                backing: Backing::Plain,
            };
            inner.store.commit(&key, committed).map(drop)
        })
        .await
    }

    /// Forgets a snapshot. What it takes up is given back by `cleanup`.
    pub async fn remove(&self, key: String) -> Result<(), Error> {
        self.blocking(move |inner| inner.store.remove(&key).map(drop))
            .await
    }

    pub async fn stat(&self, key: String) -> Result<Record, Error> {
        self.blocking(move |inner| inner.store.get(&key)).await
    }

    pub async fn update(
        &self,
        key: String,
        labels: Labels,
        paths: Vec<String>,
    ) -> Result<Record, Error> {
        self.blocking(move |inner| inner.store.update(&key, &labels, &paths))
            .await
    }

    pub async fn list(&self, filters: Vec<String>) -> Result<Vec<Record>, Error> {
        let filter = Filter::parse(&filters)?;
        self.blocking(move |inner| inner.store.select(&filter))
            .await
    }

    pub async fn usage(&self, key: String) -> Result<Usage, Error> {
        self.blocking(move |inner| {
            let record = inner.store.get(&key)?;
            match (record.kind, record.backing) {
                (Kind::Active, _) => inner.disk.usage(record.id),
                (_, Backing::Plain) => Ok(record.usage),
                // A layer that is not mounted now still has what it last had.
                (_, Backing::Remote | Backing::Local) => {
                    Ok(inner.layers.usage(record.id).unwrap_or(record.usage))
                }
            }
        })
        .await
    }

    async fn create(&self, kind: Kind, new: New) -> Result<Chain, Error> {
        let parent = new.parent.clone();
        let lowers = self
            .blocking(move |inner| inner.store.parents(parent.as_deref()))
            .await?;
        // The root of the new snapshot takes after that of the parent, so it must be readable.
        self.serve(&new.key, &lowers).await?;
        self.blocking(move |inner| inner.create(kind, new)).await
    }

    /// containerd asks for the mounts when it makes a container and again whenever it starts that one.
    fn starting(&self, chain: &Chain) {
        let Some(image) = chain.lowers.first() else {
            return;
        };
        if chain.top.kind != Kind::Active {
            return;
        }
        let layers: Vec<SnapshotId> = chain.lowers.iter().map(|layer| layer.id).collect();
        self.0.layers.starting(&image.labels, &layers);
    }

    /// Sees to it that the layers below a snapshot are mounted and answer.
    async fn serve(&self, key: &str, lowers: &[Record]) -> Result<(), Error> {
        for lower in lowers
            .iter()
            .filter(|lower| lower.backing != Backing::Plain)
        {
            let fs = self.0.disk.fs(lower.id);
            let restored = self.0.layers.restore(lower.id, fs, &lower.labels).await;
            restored.map_err(|source| Error::Unavailable {
                key: key.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    fn mount(&self, chain: &Chain) -> Vec<Mount> {
        let disk = &self.0.disk;
        let lower = |record: &Record| Lower {
            fs: disk.fs(record.id),
            mounted: record.backing != Backing::Plain,
        };
        let lowers: Vec<Lower> = chain.lowers.iter().map(lower).collect();
        let place = Place {
            fs: &disk.fs(chain.top.id),
            work: &disk.work(chain.top.id),
            empty: disk.empty(),
            userxattr: self.0.userxattr,
        };
        overlay::mounts(chain.top.kind, place, &lowers)
    }

    /// Runs to its end even if the caller goes away.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Inner>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(|error| Error::Interrupted(error.to_string()))?
    }
}

impl Inner {
    fn create(self: &Arc<Self>, kind: Kind, new: New) -> Result<Chain, Error> {
        let parents = self.store.parents(new.parent.as_deref())?;
        let id = self.store.reserve();
        let _claim = Claim::take(self, id);
        self.disk
            .create(id, kind, parents.first().map(|parent| parent.id))?;
        let created = self
            .store
            .create(id, kind, &new.key, new.parent.as_deref(), new.labels);
        if created.is_err() {
            self.give_back(id);
        }
        created
    }
}

fn refuse_id_mapping(new: &New) -> Result<(), Error> {
    let mapped = |label| {
        new.labels
            .get(label)
            .is_some_and(|mapping| !mapping.is_empty())
    };
    match mapped(labels::UID_MAPPING) || mapped(labels::GID_MAPPING) {
        true => Err(Error::IdMapping(new.key.clone())),
        false => Ok(()),
    }
}
