//! The snapshotter as containerd's gRPC service.

use std::iter;

use futures_util::stream::{self, BoxStream, StreamExt};
use proto::snapshots::v1 as api;
use proto::snapshots::v1::snapshots_server::{Snapshots, SnapshotsServer};
use tonic::{Code, Request, Response, Status};

use crate::error::Error;
use crate::snapshotter::{New, Snapshotter};
use crate::store::{Kind, Record};

/// containerd's own limit.
const MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// A block of List ends at this many snapshots, as containerd's does…
const BLOCK_SNAPSHOTS: usize = 100;
/// …or once it is this large, since a client does not take more than `MESSAGE_BYTES`.
const BLOCK_BYTES: usize = 4 * 1024 * 1024;
const NAMESPACE: &str = "containerd-namespace";

pub struct Service(Snapshotter);

impl Service {
    pub fn server(snapshotter: Snapshotter) -> SnapshotsServer<Service> {
        SnapshotsServer::new(Service(snapshotter))
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES)
    }
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Snapshots for Service {
    async fn prepare(
        &self,
        request: Request<api::PrepareSnapshotRequest>,
    ) -> Reply<api::PrepareSnapshotResponse> {
        let namespace = namespace(&request);
        let request = request.into_inner();
        let new = New {
            key: request.key,
            parent: named(request.parent),
            labels: request.labels.into_iter().collect(),
            namespace,
        };
        let mounts = reply("prepare", self.0.prepare(new).await)?;
        Ok(Response::new(api::PrepareSnapshotResponse { mounts }))
    }

    async fn view(
        &self,
        request: Request<api::ViewSnapshotRequest>,
    ) -> Reply<api::ViewSnapshotResponse> {
        let namespace = namespace(&request);
        let request = request.into_inner();
        let new = New {
            key: request.key,
            parent: named(request.parent),
            labels: request.labels.into_iter().collect(),
            namespace,
        };
        let mounts = reply("view", self.0.view(new).await)?;
        Ok(Response::new(api::ViewSnapshotResponse { mounts }))
    }

    async fn mounts(&self, request: Request<api::MountsRequest>) -> Reply<api::MountsResponse> {
        let key = request.into_inner().key;
        let mounts = reply("mounts", self.0.mounts(key).await)?;
        Ok(Response::new(api::MountsResponse { mounts }))
    }

    async fn commit(&self, request: Request<api::CommitSnapshotRequest>) -> Reply<()> {
        let request = request.into_inner();
        let labels = request.labels.into_iter().collect();
        let parent = named(request.parent);
        let done = self
            .0
            .commit(request.key, request.name, parent, labels)
            .await;
        reply("commit", done).map(Response::new)
    }

    async fn remove(&self, request: Request<api::RemoveSnapshotRequest>) -> Reply<()> {
        let done = self.0.remove(request.into_inner().key).await;
        reply("remove", done).map(Response::new)
    }

    async fn stat(
        &self,
        request: Request<api::StatSnapshotRequest>,
    ) -> Reply<api::StatSnapshotResponse> {
        let record = reply("stat", self.0.stat(request.into_inner().key).await)?;
        let info = Some(info(record));
        Ok(Response::new(api::StatSnapshotResponse { info }))
    }

    async fn update(
        &self,
        request: Request<api::UpdateSnapshotRequest>,
    ) -> Reply<api::UpdateSnapshotResponse> {
        let request = request.into_inner();
        let asked = request.info.unwrap_or_default();
        let paths = request
            .update_mask
            .map(|mask| mask.paths)
            .unwrap_or_default();
        let labels = asked.labels.into_iter().collect();
        let record = reply("update", self.0.update(asked.name, labels, paths).await)?;
        let info = Some(info(record));
        Ok(Response::new(api::UpdateSnapshotResponse { info }))
    }

    type ListStream = BoxStream<'static, Result<api::ListSnapshotsResponse, Status>>;

    async fn list(&self, request: Request<api::ListSnapshotsRequest>) -> Reply<Self::ListStream> {
        let filters = request.into_inner().filters;
        let records = reply("list", self.0.list(filters).await)?;
        Ok(Response::new(stream::iter(blocks(records)).boxed()))
    }

    async fn usage(&self, request: Request<api::UsageRequest>) -> Reply<api::UsageResponse> {
        let usage = reply("usage", self.0.usage(request.into_inner().key).await)?;
        Ok(Response::new(api::UsageResponse {
            size: i64::try_from(usage.bytes).unwrap_or(i64::MAX),
            inodes: i64::try_from(usage.inodes).unwrap_or(i64::MAX),
        }))
    }

    async fn cleanup(&self, _request: Request<api::CleanupRequest>) -> Reply<()> {
        reply("cleanup", self.0.cleanup().await).map(Response::new)
    }
}

/// On the wire an absent name is an empty one.
fn named(name: String) -> Option<String> {
    (!name.is_empty()).then_some(name)
}

fn namespace<T>(request: &Request<T>) -> Option<String> {
    let value = request.metadata().get(NAMESPACE)?.to_str().ok()?;
    named(value.to_owned())
}

/// What a client does wrong is the client's to report; the rest is ours.
fn reply<T>(verb: &'static str, result: Result<T, Error>) -> Result<T, Status> {
    result.map_err(|error| {
        let status = Status::from(error);
        let (code, error) = (status.code(), status.message());
        match code {
            Code::Internal | Code::DataLoss | Code::ResourceExhausted | Code::Unavailable => {
                tracing::error!(target: "daemon", verb, ?code, error, "a request failed");
            }
            _ => tracing::debug!(target: "daemon", verb, ?code, error, "refused a request"),
        }
        status
    })
}

fn info(record: Record) -> api::Info {
    let kind = match record.kind {
        Kind::View => api::Kind::View,
        Kind::Active => api::Kind::Active,
        Kind::Committed => api::Kind::Committed,
    };
    api::Info {
        name: record.key,
        parent: record.parent.unwrap_or_default(),
        kind: kind.into(),
        created_at: Some(record.created.into()),
        updated_at: Some(record.updated.into()),
        labels: record.labels.into_iter().collect(),
    }
}

fn blocks(
    records: Vec<Record>,
) -> impl Iterator<Item = Result<api::ListSnapshotsResponse, Status>> + Send {
    let mut records = records.into_iter().peekable();
    iter::from_fn(move || {
        let mut block = Vec::new();
        let mut bytes = 0_usize;
        while block.len() < BLOCK_SNAPSHOTS
            && let Some(record) = records.next_if(|next| {
                bytes = bytes.saturating_add(size(next));
                block.is_empty() || bytes <= BLOCK_BYTES
            })
        {
            block.push(info(record));
        }
        (!block.is_empty()).then_some(Ok(api::ListSnapshotsResponse { info: block }))
    })
}

fn size(record: &Record) -> usize {
    let labels = record
        .labels
        .iter()
        .map(|(key, value)| key.len().saturating_add(value.len()));
    let names = record
        .key
        .len()
        .saturating_add(record.parent.as_ref().map_or(0, String::len));
    labels.fold(names, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::layers::{SnapshotId, Usage};
    use crate::store::Backing;

    fn check(count: u32, label_bytes: usize, expected: &[usize]) {
        let record = |number: u32| Record {
            id: SnapshotId(number.into()),
            key: format!("key-{number}"),
            kind: Kind::Committed,
            parent: None,
            labels: [("label".to_owned(), "x".repeat(label_bytes))].into(),
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
            usage: Usage::default(),
            backing: Backing::Plain,
        };
        let blocks = blocks((0..count).map(record).collect());
        let blocks: Vec<Vec<api::Info>> = blocks.map(|block| block.unwrap().info).collect();
        let lengths: Vec<usize> = blocks.iter().map(Vec::len).collect();
        assert_eq!(lengths, expected);
        let names: Vec<String> = blocks.into_iter().flatten().map(|info| info.name).collect();
        let all: Vec<String> = (0..count).map(|number| format!("key-{number}")).collect();
        assert_eq!(names, all);
    }

    #[test]
    fn lists_come_in_blocks_that_a_client_can_take() {
        check(0, 10, &[]);
        check(1, 10, &[1]);
        check(100, 10, &[100]);
        check(201, 10, &[100, 100, 1]);
        check(10, 1_000_000, &[4, 4, 2]);
        check(2, 8_000_000, &[1, 1]);
    }
}
