//! containerd's snapshots service, as a client of containerd or of a snapshotter sees it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use hyper_util::rt::TokioIo;
use nix::mount::{MsFlags, mount};
use proto::snapshots::v1::snapshots_client::SnapshotsClient;
use proto::snapshots::v1::{
    Info, ListSnapshotsRequest, PrepareSnapshotRequest, RemoveSnapshotRequest, UsageRequest,
    ViewSnapshotRequest,
};
use proto::types::Mount;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::mountinfo::lowerdirs;
use crate::runtime::block_on;

/// A connection over a unix socket.
pub fn connect(socket: &Path) -> Result<Channel> {
    let path = socket.to_owned();
    block_on(async {
        Endpoint::from_static("http://unix")
            .connect_with_connector(tower::service_fn(move |_| {
                let path = path.clone();
                async move { UnixStream::connect(path).await.map(TokioIo::new) }
            }))
            .await
    })
    .with_context(|| format!("connect to {}", socket.display()))
}

pub struct Snapshots {
    client: SnapshotsClient<Channel>,
    namespace: String,
    snapshotter: String,
}

impl Snapshots {
    pub fn connect(socket: &Path, namespace: &str, snapshotter: &str) -> Result<Self> {
        Ok(Self {
            client: SnapshotsClient::new(connect(socket)?),
            namespace: namespace.to_owned(),
            snapshotter: snapshotter.to_owned(),
        })
    }

    fn request<T>(&self, message: T) -> Result<tonic::Request<T>> {
        let mut request = tonic::Request::new(message);
        request
            .metadata_mut()
            .insert("containerd-namespace", self.namespace.parse()?);
        Ok(request)
    }

    pub fn list(&mut self) -> Result<Vec<Info>> {
        let request = self.request(ListSnapshotsRequest {
            snapshotter: self.snapshotter.clone(),
            ..ListSnapshotsRequest::default()
        })?;
        block_on(async {
            let mut stream = self.client.list(request).await?.into_inner();
            let mut all = Vec::new();
            while let Some(block) = stream.next().await {
                all.extend(block?.info);
            }
            Ok(all)
        })
    }

    /// The answer is left as it came: a layer that is already there is an error called `AlreadyExists`.
    pub fn prepare(
        &mut self,
        key: &str,
        parent: &str,
        labels: HashMap<String, String>,
    ) -> Result<Vec<Mount>, tonic::Status> {
        let message = PrepareSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: labels.into_iter().collect(),
        };
        let request = self
            .request(message)
            .map_err(|error| tonic::Status::internal(error.to_string()))?;
        Ok(block_on(self.client.prepare(request))?.into_inner().mounts)
    }

    pub fn view(&mut self, key: &str, parent: &str) -> Result<Vec<Mount>> {
        let request = self.request(ViewSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            ..ViewSnapshotRequest::default()
        })?;
        Ok(block_on(self.client.view(request))?.into_inner().mounts)
    }

    /// What a snapshot takes up, in bytes.
    pub fn usage(&mut self, key: &str) -> Result<i64> {
        let request = self.request(UsageRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        })?;
        Ok(block_on(self.client.usage(request))?.into_inner().size)
    }

    pub fn remove(&mut self, key: &str) -> Result<()> {
        let request = self.request(RemoveSnapshotRequest {
            snapshotter: self.snapshotter.clone(),
            key: key.to_owned(),
        })?;
        block_on(self.client.remove(request))?;
        Ok(())
    }
}

/// The directories that a view of several layers, or of one, is made of: base first.
pub fn layer_directories(mounts: &[Mount]) -> Vec<PathBuf> {
    let Some(mount) = mounts.first() else {
        return Vec::new();
    };
    let mut dirs = match mount.r#type.as_str() {
        "overlay" => lowerdirs(&mount.options),
        _ => vec![PathBuf::from(&mount.source)],
    };
    dirs.reverse();
    dirs
}

/// Mounts what a snapshotter answered, as containerd does for a container.
pub fn mount_at(mounts: &[Mount], target: &Path) -> Result<()> {
    let [found] = mounts else {
        anyhow::bail!("one mount expected: {mounts:?}")
    };
    let mut flags = MsFlags::empty();
    let mut data = Vec::new();
    for option in &found.options {
        match option.as_str() {
            "rbind" | "bind" => flags |= MsFlags::MS_BIND | MsFlags::MS_REC,
            "ro" => flags |= MsFlags::MS_RDONLY,
            "rw" => {}
            other => data.push(other),
        }
    }
    let data = (!data.is_empty()).then(|| data.join(","));
    mount(
        Some(found.source.as_str()),
        target,
        Some(found.r#type.as_str()),
        flags,
        data.as_deref(),
    )
    .with_context(|| format!("mounting {found:?} at {}", target.display()))
}
