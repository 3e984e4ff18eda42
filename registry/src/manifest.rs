//! Manifests by name: what a tag stands for, whether a manifest is there, and putting one there.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use oci_spec::image::{Descriptor, Digest, MediaType};

use crate::Error;
use crate::capabilities::Capabilities;
use crate::client::Client;
use crate::content::{self, ACCEPTED, MANIFEST_LIMIT, media_type};
use crate::counters::add;
use crate::digest;
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::name::Name;
use crate::payload::Payload;
use crate::push::{Pushed, PushedManifest, Referrer};
use crate::redirect::Ask;
use crate::referrer;
use crate::referrers::by_api;
use crate::transport::Reply;

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The registry has understood the `subject` and lists the manifest as its referrer.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// A tag is asked of the registry itself, content by digest of any host.
pub(crate) async fn resolve(hosts: &Hosts, reference: &str) -> Result<(Descriptor, Bytes), Error> {
    match Name::parse(reference)? {
        Name::Digest(digest) => {
            let manifest = content::manifest(hosts, &digest).await?;
            described(digest, &manifest.media_type, manifest.bytes)
        }
        Name::Tag(tag) => {
            let (client, tag) = (&hosts.client, tag.as_str());
            let operation = |endpoint| async move { by_tag(client, &endpoint, tag).await };
            hosts.at(hosts.origin()?.as_ref().clone(), operation).await
        }
    }
}

async fn by_tag(
    client: &Client,
    endpoint: &Arc<Endpoint>,
    tag: &str,
) -> Result<(Descriptor, Bytes), Error> {
    let headers = HeaderMap::from_iter([(ACCEPT, ACCEPTED)]);
    let reply = client
        .get(endpoint, &endpoint.manifest(tag), &headers)
        .await?;
    let (announced, content_type) = (content_digest(&reply), reply.content_type());
    let bytes = reply.read(MANIFEST_LIMIT).await?;
    // Of what the registry calls it by, we believe only what we can check.
    let digest = match announced {
        Some(announced) => digest::check(&bytes, &announced).map(|()| announced)?,
        None => digest::of(&bytes)?,
    };
    let media_type = media_type(&bytes).or(content_type).unwrap_or_default();
    described(digest, &media_type, bytes)
}

fn described(digest: Digest, media_type: &str, bytes: Bytes) -> Result<(Descriptor, Bytes), Error> {
    let is_accepted = ACCEPTED
        .to_str()
        .is_ok_and(|accepted| accepted.split(", ").any(|accepted| accepted == media_type));
    if !is_accepted {
        return Err(Error::Malformed {
            target: digest.to_string(),
            reason: "neither a manifest nor an index of Docker or OCI".to_owned(),
        });
    }
    let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Ok((Descriptor::new(media_type.into(), size, digest), bytes))
}

/// Asks the registry itself.
pub(crate) async fn find(hosts: &Hosts, digest: &Digest) -> Result<Option<Descriptor>, Error> {
    let client = &hosts.client;
    let operation = |endpoint: Arc<Endpoint>| async move {
        let Some(reply) = head(client, &endpoint, digest.as_ref()).await? else {
            return Ok(None);
        };
        if let (Some(media_type), Some(size)) = (reply.content_type(), reply.content_length()) {
            let media_type = MediaType::from(media_type.as_str());
            return Ok(Some(Descriptor::new(media_type, size, digest.clone())));
        }
        // Proxies drop the length of an answer without a body.
        let (found, _) = by_tag(client, &endpoint, digest.as_ref()).await?;
        Ok(Some(found))
    };
    hosts.at(hosts.origin()?.as_ref().clone(), operation).await
}

async fn head(
    client: &Client,
    endpoint: &Arc<Endpoint>,
    name: &str,
) -> Result<Option<Reply>, Error> {
    let ask = Ask {
        method: &Method::HEAD,
        headers: &HeaderMap::from_iter([(ACCEPT, ACCEPTED)]),
        payload: Payload::Empty,
    };
    match client.ask(endpoint, &endpoint.manifest(name), ask).await {
        Ok(reply) => Ok(Some(reply)),
        Err(failure) if failure.error.is_not_found() => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

fn content_digest(reply: &Reply) -> Option<Digest> {
    reply
        .headers
        .get(CONTENT_DIGEST)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

pub(crate) async fn push(
    hosts: &Hosts,
    capabilities: &Capabilities,
    reference: &str,
    media_type: &str,
    manifest: &Bytes,
) -> Result<PushedManifest, Error> {
    let name = Name::parse(reference)?;
    let digest = match &name {
        Name::Digest(digest) => digest::check(manifest, digest).map(|()| digest.clone())?,
        Name::Tag(_) => digest::of(manifest)?,
    };
    if u64::try_from(manifest.len()).map_or(true, |length| length > MANIFEST_LIMIT) {
        return Err(Error::TooLarge {
            target: digest.to_string(),
            limit: MANIFEST_LIMIT,
        });
    }
    let push = Push {
        client: &hosts.client,
        capabilities,
        name: &name,
        referrer: referrer::of(manifest, &digest, media_type)?,
        digest,
        media_type,
        manifest,
    };
    let push = &push;
    let operation = |endpoint| async move { push.attempt(&endpoint).await };
    hosts.at(hosts.origin()?.pushing(None), operation).await
}

/// One manifest to be pushed to one name.
struct Push<'a> {
    client: &'a Client,
    capabilities: &'a Capabilities,
    name: &'a Name,
    digest: Digest,
    media_type: &'a str,
    manifest: &'a Bytes,
    referrer: Option<Referrer>,
}

impl Push<'_> {
    async fn attempt(&self, endpoint: &Arc<Endpoint>) -> Result<PushedManifest, Error> {
        if self.is_present(endpoint).await? {
            match self.listed(endpoint).await? {
                // A registry that learnt the API later lists what is pushed again.
                Some(false) => {}
                Some(true) => return Ok(self.done(Pushed::Present, true)),
                None => return Ok(self.done(Pushed::Present, false)),
            }
        }
        let reply = put(
            self.client,
            endpoint,
            self.name.as_str(),
            self.media_type,
            self.manifest,
        )
        .await?;
        if let Some(stored) = content_digest(&reply)
            && stored.algorithm() == self.digest.algorithm()
            && stored != self.digest
        {
            return Err(Error::Digest {
                target: reply.target().to_owned(),
                actual: stored.to_string(),
            });
        }
        let is_listed =
            reply.headers.contains_key(OCI_SUBJECT) || self.listed(endpoint).await?.is_some();
        Ok(self.done(Pushed::Uploaded, is_listed))
    }

    async fn is_present(&self, endpoint: &Arc<Endpoint>) -> Result<bool, Error> {
        match head(self.client, endpoint, self.name.as_str()).await {
            Ok(Some(reply)) => Ok(match self.name {
                Name::Digest(_) => true,
                Name::Tag(_) => content_digest(&reply).as_ref() == Some(&self.digest),
            }),
            Ok(None) => Ok(false),
            Err(error) if error.is_transient() => Err(error),
            // Who may write but not read learns from the push.
            Err(_) => Ok(false),
        }
    }

    /// Whether the registry's own list has it; `None` where the registry keeps no such list.
    async fn listed(&self, endpoint: &Arc<Endpoint>) -> Result<Option<bool>, Error> {
        let Some(Referrer {
            subject,
            descriptor,
        }) = &self.referrer
        else {
            return Ok(Some(true));
        };
        let artifact_type = descriptor.artifact_type().as_ref();
        let artifact_type = artifact_type.map(MediaType::to_string).unwrap_or_default();
        let (client, capabilities) = (self.client, self.capabilities);
        let found = by_api(client, capabilities, endpoint, subject, &artifact_type).await?;
        Ok(found.map(|found| found.iter().any(|found| found.digest() == &self.digest)))
    }

    fn done(&self, pushed: Pushed, is_listed: bool) -> PushedManifest {
        PushedManifest {
            digest: self.digest.clone(),
            pushed,
            unlisted: self.referrer.clone().filter(|_| !is_listed),
        }
    }
}

pub(crate) async fn put(
    client: &Client,
    endpoint: &Arc<Endpoint>,
    name: &str,
    media_type: &str,
    manifest: &Bytes,
) -> Result<Reply, Error> {
    let content_type = HeaderValue::from_str(media_type).map_err(|_| Error::Malformed {
        target: name.to_owned(),
        reason: "its media type does not fit into a header".to_owned(),
    })?;
    let ask = Ask {
        method: &Method::PUT,
        headers: &HeaderMap::from_iter([(CONTENT_TYPE, content_type)]),
        payload: Payload::Bytes(manifest),
    };
    let reply = client.ask(endpoint, &endpoint.manifest(name), ask).await?;
    add(&client.transport.counters().pushes, 1);
    Ok(reply)
}
