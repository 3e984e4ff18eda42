//! Prepare of an image layer: mounted by us under the name containerd wants, or left to it.

use std::sync::Arc;

use proto::types::Mount;

use super::{Inner, New, Snapshotter};
use crate::error::Error;
use crate::flights::{Lead, Seat};
use crate::labels;
use crate::layers::Outcome;
use crate::store::{Backing, Chain, Committed, Kind, Labels};

/// The layer to prepare: its chain ID, and the snapshot it lies on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Target {
    chain_id: String,
    parent: Option<String>,
}

/// What came of preparing it.
#[derive(Clone, Debug)]
pub(super) enum Landing {
    Present,
    Deferred { reason: String, labels: Labels },
}

/// Where a layer is or could be.
enum Slot {
    Taken,
    Free(String),
}

impl Snapshotter {
    /// Ends in `TargetExists` when containerd has nothing to do any more.
    pub(super) async fn prepare_layer(
        &self,
        chain_id: String,
        new: New,
    ) -> Result<Vec<Mount>, Error> {
        let namespace = new.namespace.clone().ok_or(Error::NoNamespace)?;
        let parent = new.parent.clone();
        let target = Target { chain_id, parent };
        loop {
            let follow = match self.0.flights.join(&target) {
                Seat::Follow(follow) => follow,
                Seat::Lead(lead) => {
                    let this = self.clone();
                    let work = async move { this.lead(target, new, namespace, lead).await };
                    // A task of its own: the followers need the layer even if this client leaves.
                    let done = tokio::spawn(work).await;
                    return done.map_err(|error| Error::Interrupted(error.to_string()))?;
                }
            };
            match follow.result().await {
                Some(Landing::Present) => return Err(Error::TargetExists(target.chain_id)),
                Some(Landing::Deferred { reason, labels }) if labels == new.labels => {
                    let chain = self.create(Kind::Active, new).await?;
                    report("defer-snapshot-runtime", &chain.top.labels, &reason);
                    return Ok(self.mount(&chain));
                }
                // Of another image, or nothing at all: somebody has to try again.
                Some(Landing::Deferred { .. }) | None => {}
            }
        }
    }

    async fn lead(
        &self,
        target: Target,
        new: New,
        namespace: String,
        lead: Lead<Target, Landing>,
    ) -> Result<Vec<Mount>, Error> {
        let wanted = target.clone();
        let slot = self.blocking(move |inner| inner.slot(&wanted)).await?;
        let Slot::Free(name) = slot else {
            lead.finish(Landing::Present);
            return Err(Error::TargetExists(target.chain_id));
        };
        let labels = new.labels.clone();
        let chain = self.create(Kind::Active, new).await?;
        let id = chain.top.id;
        let (layers, fs) = (&self.0.layers, self.0.disk.fs(id));
        let outcome = layers.prepare(id, fs, &namespace, &labels).await;
        let (backing, event, reason) = match outcome {
            Outcome::Remote => (Backing::Remote, "remote-snapshot-prepared", String::new()),
            Outcome::Local { reason } => (Backing::Local, "local-snapshot-prepared", reason),
            Outcome::Deferred { reason } => {
                report("defer-snapshot-runtime", &labels, &reason);
                lead.finish(Landing::Deferred { reason, labels });
                return Ok(self.mount(&chain));
            }
        };
        let wanted = target.clone();
        let committed = with_layer_labels(labels.clone(), backing, namespace);
        self.blocking(move |inner| inner.land(&chain, &wanted, &name, committed, backing))
            .await?;
        report(event, &labels, &reason);
        lead.finish(Landing::Present);
        Err(Error::TargetExists(target.chain_id))
    }
}

impl Inner {
    /// containerd looks a layer up by its chain ID and its parent. Two namespaces may have the
    /// same layer on parents of different names; the second one then needs a name of its own.
    fn slot(&self, target: &Target) -> Result<Slot, Error> {
        let parent = match &target.parent {
            Some(parent) => self
                .store
                .parents(Some(parent))?
                .first()
                .map_or(0, |p| p.id.0),
            None => 0,
        };
        let names = [
            target.chain_id.clone(),
            format!("{}@{parent}", target.chain_id),
        ];
        for name in names {
            match self.store.get(&name) {
                Err(Error::NotFound(_)) => return Ok(Slot::Free(name)),
                Err(error) => return Err(error),
                Ok(record) => {
                    let same = record.kind == Kind::Committed
                        && record.parent == target.parent
                        && record.labels.get(labels::REF) == Some(&target.chain_id);
                    if same {
                        return Ok(Slot::Taken);
                    }
                }
            }
        }
        Err(Error::Exists(target.chain_id.clone()))
    }

    /// Makes a mounted layer permanent; if it exists by now, takes the second one down.
    fn land(
        self: &Arc<Self>,
        chain: &Chain,
        target: &Target,
        name: &str,
        labels: Labels,
        backing: Backing,
    ) -> Result<(), Error> {
        let top = &chain.top;
        let committed = Committed {
            name,
            parent: None,
            labels,
            usage: self.layers.usage(top.id).unwrap_or_default(),
            backing,
        };
        let Err(error) = self.store.commit(&top.key, committed) else {
            return Ok(());
        };
        if let Err(error) = self.store.remove(&top.key) {
            tracing::warn!(target: "daemon", key = ?top.key, %error, "an unused snapshot stays");
        } else {
            self.give_back(top.id);
        }
        match self.slot(target) {
            Ok(Slot::Taken) => Ok(()),
            _ => Err(error),
        }
    }
}

fn with_layer_labels(mut labels: Labels, backing: Backing, namespace: String) -> Labels {
    let mut set = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
    set(labels::NAMESPACE, &namespace);
    if backing == Backing::Remote {
        set(labels::REMOTE, labels::REMOTE_VALUE);
        set(labels::HAS_INDEX, "true");
    }
    labels
}

/// One line per layer, under the keys that log searches for other SOCI snapshotters use.
fn report(event: &'static str, labels: &Labels, reason: &str) {
    let label = |key| labels.get(key).map(String::as_str).unwrap_or_default();
    let image = label(labels::IMAGE_REF);
    let layer = label(labels::LAYER_DIGEST);
    match event {
        "remote-snapshot-prepared" => {
            tracing::info!(target: "daemon", { "remote-snapshot-prepared" = "true", image, layer }, "prepared a layer");
        }
        "local-snapshot-prepared" => {
            tracing::info!(target: "daemon", { "local-snapshot-prepared" = "true", reason, image, layer }, "prepared a layer");
        }
        _ => {
            tracing::info!(target: "daemon", { "defer-snapshot-runtime" = "true", reason, image, layer }, "left a layer to containerd");
        }
    }
}
