//! Whole content by digest, verified: manifests and small blobs.

use std::sync::Arc;

use bytes::Bytes;
use http::header::ACCEPT;
use http::{HeaderMap, HeaderValue};
use oci_spec::image::Digest;
use serde::Deserialize;

use crate::Error;
use crate::digest::Verifier;
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::partial::is_encoded;
use crate::transport::Reply;

pub(crate) const MANIFEST_LIMIT: u64 = 4 << 20;

pub(crate) const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.oci.artifact.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json",
);

/// A manifest as its digest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub media_type: String,
    pub bytes: Bytes,
}

pub(crate) async fn manifest(hosts: &Hosts, digest: &Digest) -> Result<Manifest, Error> {
    let headers = HeaderMap::from_iter([(ACCEPT, ACCEPTED)]);
    let (client, headers) = (&hosts.client, &headers);
    let operation = |endpoint: Arc<Endpoint>| async move {
        let reply = client
            .get(&endpoint, &endpoint.manifest(digest.as_ref()), headers)
            .await?;
        let (target, content_type) = (reply.target().to_owned(), reply.content_type());
        let bytes = verified(reply, digest, MANIFEST_LIMIT).await?;
        let media_type = media_type(&bytes)
            .or(content_type)
            .ok_or_else(|| Error::Malformed {
                target,
                reason: "neither the manifest nor the host names its media type".to_owned(),
            })?;
        Ok(Manifest { media_type, bytes })
    };
    hosts.each(operation).await
}

pub(crate) async fn blob(hosts: &Hosts, digest: &Digest, limit: u64) -> Result<Bytes, Error> {
    let headers = HeaderMap::new();
    let (client, headers) = (&hosts.client, &headers);
    let operation = |endpoint: Arc<Endpoint>| async move {
        let reply = client
            .get(&endpoint, &endpoint.blob(digest), headers)
            .await?;
        verified(reply, digest, limit).await
    };
    hosts.each(operation).await
}

async fn verified(reply: Reply, digest: &Digest, limit: u64) -> Result<Bytes, Error> {
    let target = reply.target().to_owned();
    let malformed = |reason: &str| Error::Malformed {
        target: target.clone(),
        reason: reason.to_owned(),
    };
    if is_encoded(&reply) {
        return Err(malformed("the content is encoded"));
    }
    let mut verifier = Verifier::new(digest)
        .ok_or_else(|| malformed("its digest is of an algorithm that cannot be checked"))?;
    let bytes = reply
        .read_with(limit, |piece| verifier.update(piece))
        .await?;
    verifier.finish(&target)?;
    Ok(bytes)
}

/// The type a manifest gives itself is covered by its digest; a header is anybody's word.
pub(crate) fn media_type(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "mediaType")]
        media_type: Option<String>,
    }
    let typed: Typed = serde_json::from_slice(bytes).ok()?;
    typed.media_type.filter(|media_type| !media_type.is_empty())
}
