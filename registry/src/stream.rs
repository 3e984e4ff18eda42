//! Reads a whole blob front to back, going on where a broken connection stopped.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use oci_spec::image::Digest;

use crate::Error;
use crate::hosts::Hosts;
use crate::partial;
use crate::transport::{Body, Reply};

/// A connection that carried this much was worth having; the count of broken ones starts anew.
const PROGRESS: u64 = 1 << 20;

/// A blob on its way. The bytes are not verified: hash them, and mind how many they are.
pub struct BlobStream {
    hosts: Hosts,
    digest: Digest,
    size: Option<u64>,
    position: u64,
    state: State,
    resumes: u32,
    resumed_at: u64,
}

enum State {
    Open(Body),
    Broken(Error),
    Done,
}

impl BlobStream {
    pub(crate) async fn open(hosts: Hosts, digest: Digest) -> Result<Self, Error> {
        let headers = HeaderMap::new();
        let reply = hosts
            .each(|endpoint| {
                let (client, headers, digest) = (&hosts.client, &headers, &digest);
                async move {
                    let reply = client
                        .get(&endpoint, &endpoint.blob(digest), headers)
                        .await?;
                    whole(&reply).map(|()| reply)
                }
            })
            .await?;
        let size = reply.content_length();
        let state = State::Open(reply.body);
        Ok(BlobStream {
            hosts,
            digest,
            size,
            position: 0,
            state,
            resumes: 0,
            resumed_at: 0,
        })
    }

    /// As announced by the host.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The next piece; `None` at the end. After an error there is nothing more. Cancel safe.
    pub async fn next(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            let broken = match &mut self.state {
                State::Done => return None,
                State::Broken(error) => error.clone(),
                State::Open(body) => match body.chunk().await {
                    Ok(Some(chunk)) => {
                        self.position = self.position.saturating_add(chunk.len() as u64);
                        return Some(Ok(chunk));
                    }
                    Ok(None) if self.size.is_none_or(|size| size == self.position) => {
                        self.state = State::Done;
                        return None;
                    }
                    Ok(None) => Error::Transport {
                        target: self.digest.to_string(),
                        reason: format!("the body ended after {} bytes", self.position),
                    },
                    Err(error) => error,
                },
            };
            self.state = State::Broken(broken.clone());
            match self.resume().await {
                Some(body) => self.state = State::Open(body),
                None => {
                    self.state = State::Done;
                    return Some(Err(broken));
                }
            }
        }
    }

    /// The rest, if the host serves parts and has not broken off too often.
    async fn resume(&mut self) -> Option<Body> {
        let size = self.size?;
        if self.position.saturating_sub(self.resumed_at) >= PROGRESS {
            self.resumes = 0;
        }
        if self.resumes >= self.hosts.retry.max_retries() {
            return None;
        }
        self.resumes = self.resumes.saturating_add(1);
        self.resumed_at = self.position;
        let range = self.position..size;
        let headers = partial::request(&range)?;
        let (client, digest) = (&self.hosts.client, &self.digest);
        let (range, headers) = (&range, &headers);
        let reply = self.hosts.each(|endpoint: Arc<_>| async move {
            let reply = client
                .get(&endpoint, &endpoint.blob(digest), headers)
                .await?;
            partial::check(&reply, range, size).map(|()| reply)
        });
        match reply.await {
            Ok(reply) => Some(reply.body),
            Err(error) => {
                // The caller gets the first error; this one would otherwise be lost.
                tracing::debug!(digest = %self.digest, %error, "cannot resume");
                None
            }
        }
    }
}

impl std::fmt::Debug for BlobStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = f.debug_struct("BlobStream");
        debug
            .field("digest", &self.digest.as_ref())
            .field("position", &self.position);
        debug.finish_non_exhaustive()
    }
}

fn whole(reply: &Reply) -> Result<(), Error> {
    let malformed = |reason: String| Error::Malformed {
        target: reply.target().to_owned(),
        reason,
    };
    if reply.status != StatusCode::OK {
        return Err(malformed(format!("HTTP status {}", reply.status.as_u16())));
    }
    if partial::is_encoded(reply) {
        return Err(malformed("the content is encoded".to_owned()));
    }
    Ok(())
}
