//! Reads parts of a blob, going straight to where the registry redirected the last time.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use oci_spec::image::Digest;
use parking_lot::Mutex;
use url::Url;

use crate::Error;
use crate::capabilities::Capabilities;
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::partial;
use crate::redirect::{Ask, Errand, follow, same_origin};
use crate::status::failure;
use crate::transport::Reply;

/// What a probe asks for: enough for any gzip header that compressors write.
const PROBE: u64 = 512;
/// How much of a whole answer is passed over to get at the part asked for.
const MAX_SKIP: u64 = 64 << 20;

/// A blob of known size. Clones share the remembered redirect.
#[derive(Clone)]
pub struct Blob(Arc<Inner>);

struct Inner {
    hosts: Hosts,
    capabilities: Arc<Capabilities>,
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
    pub(crate) fn new(
        hosts: Hosts,
        capabilities: Arc<Capabilities>,
        digest: Digest,
        size: u64,
    ) -> Self {
        Blob(Arc::new(Inner {
            hosts,
            capabilities,
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

    /// Exactly the bytes of `range`, not verified. A host that answers with the whole blob after all,
    /// as pull-through caches do while they fill, costs what lies before the range, up to a limit.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        self.ask(range, MAX_SKIP).await
    }

    /// The beginning, read to see whether the host serves parts of this blob, and where they are.
    pub async fn probe(&self) -> Result<Bytes, Error> {
        self.ask(0..self.0.size.min(PROBE), 0).await
    }

    /// Whether the host that comes first has lately served parts of blobs, and by itself: a probe would tell nothing new.
    pub fn needs_no_probe(&self) -> bool {
        let blob = &*self.0;
        let endpoints = blob.hosts.endpoints.as_ref();
        endpoints.is_ok_and(|all| (all.first()).is_some_and(|e| blob.capabilities.serves_ranges(e)))
    }

    async fn ask(&self, range: Range<u64>, skip: u64) -> Result<Bytes, Error> {
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
        let part = &Part {
            range: &range,
            skip,
        };
        blob.hosts
            .each(|endpoint| blob.read(endpoint, part, &headers))
            .await
    }
}

/// What is wanted, and how much in front of it may be read in vain.
struct Part<'a> {
    range: &'a Range<u64>,
    skip: u64,
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
        part: &Part<'_>,
        headers: &HeaderMap,
    ) -> Result<Bytes, Error> {
        if let Some(url) = self.place(&endpoint) {
            let read = self.read_at(&endpoint, &url, part, headers).await;
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
        // Within the registry's own origin every request needs its authorization: nothing saved.
        let is_own = same_origin(&place, &endpoint.base);
        if is_own {
            let served = reply.status == StatusCode::PARTIAL_CONTENT;
            self.capabilities.note_ranges(&endpoint, served);
        }
        let bytes = self.take(reply, part).await?;
        if !is_own {
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
        part: &Part<'_>,
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
            200..=299 => self.take(reply, part).await.map(Some),
            _ => Err(failure(reply).await.error),
        }
    }

    async fn take(&self, mut reply: Reply, part: &Part<'_>) -> Result<Bytes, Error> {
        let range = part.range;
        let before = match partial::check(&reply, range, self.size) {
            Ok(()) => 0,
            Err(Error::NoRanges { .. }) if range.start < part.skip && self.is_whole(&reply) => {
                tracing::debug!(target = reply.target(), "a whole blob instead of a part");
                range.start
            }
            Err(error) => return Err(error),
        };
        let target = reply.target().to_owned();
        let too_large = |_| Error::TooLarge {
            target: target.clone(),
            limit: usize::MAX as u64,
        };
        let length = range.end.saturating_sub(range.start);
        let length = usize::try_from(length).map_err(too_large)?;
        let mut before = usize::try_from(before).map_err(too_large)?;
        let may_go_on = reply.status == StatusCode::OK;
        let mut bytes = BytesMut::new();
        while let Some(mut chunk) = reply.body.chunk().await? {
            let skipped = before.min(chunk.len());
            before -= skipped;
            let mut chunk = chunk.split_off(skipped);
            let room = length.saturating_sub(bytes.len());
            if chunk.len() > room {
                if !may_go_on {
                    let reason = format!("more than the {length} bytes asked for");
                    return Err(Error::Range { target, reason });
                }
                chunk.truncate(room);
            }
            // Once the head and a first piece are right, the rest may be allocated.
            if !chunk.is_empty() {
                bytes.reserve(room);
            }
            bytes.extend_from_slice(&chunk);
            if may_go_on && bytes.len() == length {
                break;
            }
        }
        if bytes.len() == length {
            return Ok(bytes.freeze());
        }
        let reason = format!("the body ended after {} of {length} bytes", bytes.len());
        Err(Error::Transport { target, reason })
    }

    fn is_whole(&self, reply: &Reply) -> bool {
        !partial::is_encoded(reply) && reply.content_length().is_none_or(|size| size == self.size)
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
