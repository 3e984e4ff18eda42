//! Contents into containerd, with the labels that keep them.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use oci_spec::image::Digest;
use proto::content::v1::{
    AbortRequest, DeleteContentRequest, Info, UpdateRequest, WriteAction, WriteContentRequest,
};
use tonic::{Code, Status};

use super::channel::{Client, mask, signed};
use crate::content::Content;
use crate::error::Error;
use crate::store::sink::{Labels, Written};

/// Well below what containerd takes in one message.
const PART: usize = 1 << 20;

pub(super) async fn write(
    client: &Client,
    content: &Content,
    bytes: Bytes,
    labels: Labels,
) -> Result<Written, Error> {
    // Its own name, so that nobody waits for a write that another process gave up.
    let name = format!("soci-{:016x}-{}", fastrand::u64(..), content.digest);
    match ingest(client, &name, content, bytes, &labels).await {
        Ok(()) => Ok(Written::New),
        Err(status) if status.code() == Code::AlreadyExists => {
            relabel(client, &content.digest, labels).await?;
            Ok(Written::Present)
        }
        Err(status) => {
            let abort = AbortRequest { r#ref: name };
            // Best effort: an abandoned write expires with the lease.
            let _ = client.content().abort(abort).await;
            Err(client.failed("writing content", &status))
        }
    }
}

async fn ingest(
    client: &Client,
    name: &str,
    content: &Content,
    bytes: Bytes,
    labels: &Labels,
) -> Result<(), Status> {
    let head = WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: name.to_owned(),
        total: signed(content.size),
        expected: content.digest.to_string(),
        ..WriteContentRequest::default()
    };
    let commit = WriteContentRequest {
        action: WriteAction::Commit.into(),
        offset: signed(content.size),
        labels: labels.clone().into_iter().collect(),
        ..head.clone()
    };
    let parts = (0..bytes.len()).step_by(PART).map(move |start| {
        let end = bytes.len().min(start + PART);
        WriteContentRequest {
            offset: signed(start as u64),
            data: bytes.slice(start..end).to_vec(),
            ..head.clone()
        }
    });
    let requests = stream::iter(parts.chain([commit]));
    let mut answers = client.content().write(requests).await?.into_inner();
    while let Some(answer) = answers.next().await {
        answer?;
    }
    Ok(())
}

/// Also brings the content into the lease of the request.
async fn relabel(client: &Client, digest: &Digest, labels: Labels) -> Result<(), Error> {
    client.add_to_lease(digest).await?;
    if labels.is_empty() {
        return Ok(());
    }
    let paths = labels.keys().map(|key| format!("labels.{key}"));
    let request = UpdateRequest {
        update_mask: Some(mask(paths)),
        info: Some(Info {
            digest: digest.to_string(),
            labels: labels.into_iter().collect(),
            ..Info::default()
        }),
    };
    let answer = client.content().update(request).await;
    answer.map_err(|status| client.failed("labels of content", &status))?;
    Ok(())
}

pub(super) async fn delete(client: &Client, digest: &Digest) -> Result<(), Error> {
    let request = DeleteContentRequest {
        digest: digest.to_string(),
    };
    match client.content().delete(request).await {
        Ok(_) => Ok(()),
        Err(status) if status.code() == Code::NotFound => Ok(()),
        Err(status) => Err(client.failed("removing content", &status)),
    }
}
