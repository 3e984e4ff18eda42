//! Contents out of containerd.

use bytes::{Bytes, BytesMut};
use futures_util::stream::{StreamExt, TryStreamExt};
use oci_spec::image::Digest;
use proto::content::v1::{InfoRequest, ListContentRequest, ReadContentRequest};

use super::channel::{Client, signed};
use crate::content::{Chunks, Content};
use crate::error::Error;

/// The size of a content, if it is there.
pub(super) async fn size(client: &Client, content: &Content) -> Result<Option<u64>, Error> {
    let request = InfoRequest {
        digest: content.digest.to_string(),
    };
    match client.content().info(request).await {
        Ok(answer) => {
            let size = answer.into_inner().info.unwrap_or_default().size;
            Ok(Some(u64::try_from(size).unwrap_or_default()))
        }
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(client.failed("content", &status)),
    }
}

pub(super) async fn whole(client: &Client, content: &Content) -> Result<Option<Bytes>, Error> {
    let Some(size) = size(client, content).await? else {
        return Ok(None);
    };
    if size > content.limit() {
        return Err(Error::Malformed {
            what: format!("{} in {}", content.digest, client.place()),
            reason: format!("{size} bytes are too many for {}", content.media_type),
        });
    }
    let mut bytes = BytesMut::new();
    let mut chunks = stream(client, content, 0).await?;
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    content.check(bytes.freeze(), &client.place()).map(Some)
}

pub(super) async fn stream(
    client: &Client,
    content: &Content,
    offset: u64,
) -> Result<Chunks, Error> {
    let request = ReadContentRequest {
        digest: content.digest.to_string(),
        offset: signed(offset),
        size: 0,
    };
    let answer = match client.content().read(request).await {
        Ok(answer) => answer.into_inner(),
        Err(status) if status.code() == tonic::Code::NotFound => {
            return Err(Error::NoContent {
                digest: content.digest.clone(),
                place: client.place(),
            });
        }
        Err(status) => return Err(client.failed("content", &status)),
    };
    let failed = client.failure("content");
    let chunks = answer.map(move |part| match part {
        Ok(part) => Ok(Bytes::from(part.data)),
        Err(status) => Err(failed(&status)),
    });
    Ok(chunks.boxed())
}

pub(super) async fn list(client: &Client) -> Result<Vec<(Digest, u64)>, Error> {
    let mut found = Vec::new();
    let answer = client.content().list(ListContentRequest::default()).await;
    let mut parts = answer
        .map_err(|status| client.failed("list of contents", &status))?
        .into_inner();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|status| client.failed("list of contents", &status))?;
        for info in part.info {
            if let (Ok(digest), Ok(size)) = (info.digest.parse(), u64::try_from(info.size)) {
                found.push((digest, size));
            }
        }
    }
    Ok(found)
}
