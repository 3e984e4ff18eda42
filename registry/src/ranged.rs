//! Reads parts of a blob, going straight to where the registry redirected the last time.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use oci_spec::image::Digest;
use parking_lot::Mutex;
use url::Url;

use crate::Error;
use crate::answer::Answer;
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

/// A connection that carried this much was worth having; the count of broken ones starts anew.
const PROGRESS: u64 = 256 << 10;

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

    /// The same, piece by piece as it arrives. Asks when it is first polled.
    pub fn stream(&self, range: Range<u64>) -> PartStream {
        PartStream {
            blob: self.clone(),
            missing: range,
            answer: None,
            resumes: 0,
            fresh: 0,
        }
    }

    async fn ask(&self, range: Range<u64>, skip: u64) -> Result<Bytes, Error> {
        let blob = &*self.0;
        let part = &Part::of(blob, &range, skip)?;
        let Some(headers) = partial::request(&range) else {
            return Ok(Bytes::new());
        };
        let collect = |endpoint| async {
            let (_, mut answer) = blob.open(endpoint, part, &headers).await?;
            let mut bytes = BytesMut::new();
            while let Some(piece) = answer.next().await.inspect_err(|_| blob.lost())? {
                // Once the head and a first piece are right, the rest may be allocated.
                bytes.reserve(part.length()?.saturating_sub(bytes.len()));
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes.freeze())
        };
        blob.hosts.each(collect).await
    }
}

/// A part of a blob on its way: goes on where a broken connection stopped, at another host if that one lies.
pub struct PartStream {
    blob: Blob,
    missing: Range<u64>,
    answer: Option<(Arc<Endpoint>, Answer)>,
    /// Connections in a row that broke before they had carried much.
    resumes: u32,
    /// Bytes of this connection.
    fresh: u64,
}

impl PartStream {
    /// The next piece; `None` at the end of the part. After an error there is nothing more. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        match self.piece().await {
            Ok(piece) => piece.map(Ok),
            Err(error) => {
                self.answer = None;
                self.missing.start = self.missing.end;
                Some(Err(error))
            }
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some((endpoint, answer)) = &mut self.answer else {
                if self.missing.is_empty() {
                    return Part::of(&self.blob.0, &self.missing, 0).map(|_| None);
                }
                self.answer = Some(self.open().await?);
                self.fresh = 0;
                continue;
            };
            let error = match answer.next().await {
                Ok(Some(piece)) => {
                    let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                    self.missing.start = self.missing.start.saturating_add(length);
                    self.fresh = self.fresh.saturating_add(length);
                    return Ok(Some(piece));
                }
                Ok(None) => {
                    self.answer = None;
                    return Ok(None);
                }
                Err(error) => error,
            };
            let endpoint = endpoint.clone();
            self.answer = None;
            self.broken(&endpoint, error).await?;
        }
    }

    async fn open(&self) -> Result<(Arc<Endpoint>, Answer), Error> {
        let blob = &*self.blob.0;
        let part = &Part::of(blob, &self.missing, MAX_SKIP)?;
        let headers = partial::request(&self.missing).unwrap_or_default();
        let open = |endpoint| blob.open(endpoint, part, &headers);
        blob.hosts.each(open).await
    }

    /// Returns when it makes sense to ask for the rest.
    async fn broken(&mut self, endpoint: &Arc<Endpoint>, error: Error) -> Result<(), Error> {
        let hosts = &self.blob.0.hosts;
        self.blob.0.lost();
        let is_final = hosts.is_origin(endpoint) && !error.is_transient();
        if self.fresh >= PROGRESS {
            self.resumes = 0;
        }
        if is_final || self.resumes >= hosts.retry.max_retries() {
            return Err(error);
        }
        if !hosts.is_origin(endpoint) {
            hosts.retry.note(endpoint, &error);
        }
        tracing::debug!(digest = %self.blob.0.digest, %error, missing = ?self.missing, "going on");
        if self.fresh < PROGRESS {
            hosts.retry.wait(self.resumes).await;
        }
        self.resumes = self.resumes.saturating_add(1);
        Ok(())
    }
}

impl std::fmt::Debug for PartStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("PartStream");
        debug
            .field("blob", &self.blob)
            .field("missing", &self.missing);
        debug.finish_non_exhaustive()
    }
}

/// What is wanted, and how much in front of it may be read in vain.
struct Part<'a> {
    range: &'a Range<u64>,
    skip: u64,
}

impl<'a> Part<'a> {
    fn of(blob: &Inner, range: &'a Range<u64>, skip: u64) -> Result<Self, Error> {
        if range.start > range.end || range.end > blob.size {
            return Err(Error::Range {
                target: blob.digest.to_string(),
                reason: format!("{}..{} is outside 0..{}", range.start, range.end, blob.size),
            });
        }
        Ok(Part { range, skip })
    }

    fn length(&self) -> Result<usize, Error> {
        let length = self.range.end.saturating_sub(self.range.start);
        usize::try_from(length).map_err(|_| Error::TooLarge {
            target: format!("{:?}", self.range),
            limit: usize::MAX as u64,
        })
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
    /// The head of the answer is right; its body is still on the wire.
    async fn open(
        &self,
        endpoint: Arc<Endpoint>,
        part: &Part<'_>,
        headers: &HeaderMap,
    ) -> Result<(Arc<Endpoint>, Answer), Error> {
        if let Some(url) = self.place(&endpoint) {
            let opened = self.open_at(&endpoint, &url, part, headers).await;
            if !matches!(opened, Ok(Some(_))) {
                self.forget(&url);
            }
            if let Some(answer) = opened? {
                return Ok((endpoint, answer));
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
        let answer = self.take(reply, part)?;
        if !is_own {
            *self.place.lock() = Some(Place {
                endpoint: endpoint.clone(),
                url: place,
            });
        }
        Ok((endpoint, answer))
    }

    /// `None` where the URL seems to have expired, so that the registry has to be asked again.
    async fn open_at(
        &self,
        endpoint: &Endpoint,
        url: &Url,
        part: &Part<'_>,
        headers: &HeaderMap,
    ) -> Result<Option<Answer>, Error> {
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
            200..=299 => self.take(reply, part).map(Some),
            _ => Err(failure(reply).await.error),
        }
    }

    fn take(&self, reply: Reply, part: &Part<'_>) -> Result<Answer, Error> {
        let range = part.range;
        match partial::check(&reply, range, self.size) {
            Ok(()) => Ok(Answer::part(reply, range)),
            Err(Error::NoRanges { .. }) if range.start < part.skip && self.is_whole(&reply) => {
                tracing::debug!(target = reply.target(), "a whole blob instead of a part");
                Ok(Answer::whole(reply, range))
            }
            Err(error) => Err(error),
        }
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

    /// An answer broke off: perhaps the registry knows a better place.
    fn lost(&self) {
        *self.place.lock() = None;
    }

    /// Unless another reader has found a newer one meanwhile.
    fn forget(&self, url: &Url) {
        let mut place = self.place.lock();
        if place.as_ref().is_some_and(|place| place.url == *url) {
            *place = None;
        }
    }
}
