//! Reads parts of a blob, going straight to where the registry redirected the last time.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use oci_spec::image::Digest;
use parking_lot::Mutex;
use url::Url;

use crate::Error;
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::partial;
use crate::redirect::{Ask, Errand, follow, same_origin};
use crate::status::failure;
use crate::transport::Reply;

/// A blob of known size. Clones share the remembered redirect.
#[derive(Clone)]
pub struct Blob(Arc<Inner>);

struct Inner {
    hosts: Hosts,
    digest: Digest,
    size: u64,
    place: Mutex<Option<Place>>,
}

/// Where an endpoint's redirects ended. The URL is usually signed and expires.
struct Place {
    endpoint: Arc<Endpoint>,
    url: Url,
}

impl Blob {
    pub(crate) fn new(hosts: Hosts, digest: Digest, size: u64) -> Self {
        Blob(Arc::new(Inner {
            hosts,
            digest,
            size,
            place: Mutex::new(None),
        }))
    }

    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    pub fn size(&self) -> u64 {
        self.0.size
    }

    /// Exactly the bytes of `range`, not verified.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let blob = &*self.0;
        if range.start > range.end || range.end > blob.size {
            return Err(Error::Range {
                target: blob.digest.to_string(),
                reason: format!("{}..{} is outside 0..{}", range.start, range.end, blob.size),
            });
        }
        let Some(headers) = partial::request(&range) else {
            return Ok(Bytes::new());
        };
        blob.hosts
            .each(|endpoint| blob.read(endpoint, &range, &headers))
            .await
    }
}

impl std::fmt::Debug for Blob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("Blob");
        debug
            .field("digest", &self.0.digest.as_ref())
            .field("size", &self.0.size);
        debug.finish_non_exhaustive()
    }
}

impl Inner {
    async fn read(
        &self,
        endpoint: Arc<Endpoint>,
        range: &Range<u64>,
        headers: &HeaderMap,
    ) -> Result<Bytes, Error> {
        if let Some(url) = self.place(&endpoint) {
            let read = self.read_at(&endpoint, &url, range, headers).await;
            if !matches!(read, Ok(Some(_))) {
                self.forget(&url);
            }
            if let Some(bytes) = read? {
                return Ok(bytes);
            }
        }
        let url = endpoint.blob(&self.digest);
        let reply = self.hosts.client.get(&endpoint, &url, headers).await?;
        let place = reply.url.clone();
        let bytes = self.take(reply, range).await?;
        // Within the registry's own origin every request needs its authorization: nothing saved.
        if !same_origin(&place, &endpoint.base) {
            *self.place.lock() = Some(Place {
                endpoint,
                url: place,
            });
        }
        Ok(bytes)
    }

    /// `None` where the URL seems to have expired, so that the registry has to be asked again.
    async fn read_at(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        range: &Range<u64>,
        headers: &HeaderMap,
    ) -> Result<Option<Bytes>, Error> {
        let errand = Errand {
            home: &endpoint.base,
            authorization: None,
        };
        let reply = follow(
            &self.hosts.client.transport,
            &errand,
            url.clone(),
            Ask::get(headers),
        )
        .await?;
        match reply.status.as_u16() {
            // S3 says 403 or, with temporary credentials, 400; CDNs also 401, 404 and 410.
            400 | 401 | 403 | 404 | 410 => Ok(None),
            200..=299 => self.take(reply, range).await.map(Some),
            _ => Err(failure(reply).await.error),
        }
    }

    async fn take(&self, mut reply: Reply, range: &Range<u64>) -> Result<Bytes, Error> {
        partial::check(&reply, range, self.size)?;
        let target = reply.target().to_owned();
        let length = usize::try_from(range.end.saturating_sub(range.start)).map_err(|_| {
            Error::TooLarge {
                target: target.clone(),
                limit: usize::MAX as u64,
            }
        })?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = reply.body.chunk().await? {
            let room = length.saturating_sub(bytes.len());
            if chunk.len() > room {
                let reason = format!("more than the {length} bytes asked for");
                return Err(Error::Range { target, reason });
            }
            // Once the head and a first piece are right, the rest may be allocated.
            bytes.reserve(room);
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() == length {
            return Ok(bytes.freeze());
        }
        let reason = format!("the body ended after {} of {length} bytes", bytes.len());
        Err(Error::Transport { target, reason })
    }

    fn place(&self, endpoint: &Arc<Endpoint>) -> Option<Url> {
        let place = self.place.lock();
        let place = place
            .as_ref()
            .filter(|place| Arc::ptr_eq(&place.endpoint, endpoint))?;
        Some(place.url.clone())
    }

    /// Unless another reader has found a newer one meanwhile.
    fn forget(&self, url: &Url) {
        let mut place = self.place.lock();
        if place.as_ref().is_some_and(|place| place.url == *url) {
            *place = None;
        }
    }
}
