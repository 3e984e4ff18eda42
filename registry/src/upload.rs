//! Uploads one blob: unless it is there, or can be mounted; in one request or a resumable one.

use std::sync::Arc;

use http::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use oci_spec::image::Digest;
use parking_lot::Mutex;
use url::Url;

use crate::Error;
use crate::client::Client;
use crate::counters::add;
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::payload::Payload;
use crate::push::{BlobBody, Pushed};
use crate::redirect::{Ask, next};
use crate::status::Failure;
use crate::transport::Reply;

/// Less is not worth a second request to resume it.
const ONE_REQUEST: u64 = 4 << 20;
/// An upload that came so much further was worth its trouble; the count of failures starts anew.
const PROGRESS: u64 = 1 << 20;

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The size of a blob, if the endpoint has it.
pub(crate) async fn find(
    client: &Client,
    endpoint: &Arc<Endpoint>,
    digest: &Digest,
) -> Result<Option<u64>, Error> {
    let ask = Ask {
        method: &Method::HEAD,
        headers: &HeaderMap::new(),
        payload: Payload::Empty,
    };
    match client.ask(endpoint, &endpoint.blob(digest), ask).await {
        Ok(reply) => reply.content_length().map(Some).ok_or(Error::Malformed {
            target: reply.target().to_owned(),
            reason: "the host does not say how long it is".to_owned(),
        }),
        Err(failure) if failure.error.is_not_found() => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

pub(crate) async fn push(
    hosts: &Hosts,
    digest: &Digest,
    size: u64,
    from: Option<&str>,
    body: &(dyn Fn(u64) -> BlobBody + Send + Sync),
) -> Result<Pushed, Error> {
    let endpoint = hosts.origin()?.pushing(None).unhurried();
    let upload = Upload {
        client: &hosts.client,
        digest,
        size,
        from: from.filter(|from| *from != endpoint.repository),
        body,
        state: Mutex::default(),
    };
    let upload = &upload;
    let mut worth = 0;
    loop {
        let attempt = |endpoint| async move { upload.attempt(&endpoint).await };
        let pushed = hosts.at(endpoint.clone(), attempt).await;
        let stored = upload.state.lock().stored;
        match pushed {
            Err(error) if error.is_transient() && stored.saturating_sub(worth) >= PROGRESS => {
                tracing::debug!(%digest, stored, %error, "going on after progress");
                worth = stored;
            }
            pushed => return pushed,
        }
    }
}

struct Upload<'a> {
    client: &'a Client,
    digest: &'a Digest,
    size: u64,
    from: Option<&'a str>,
    body: &'a (dyn Fn(u64) -> BlobBody + Send + Sync),
    state: Mutex<State>,
}

/// What one attempt leaves to the next.
#[derive(Default)]
struct State {
    /// Where an upload can be gone on with.
    interrupted: Option<Url>,
    /// As far as the registry ever said that an interrupted upload came.
    stored: u64,
    /// If the blob is there now, it is by us.
    was_sent: bool,
    is_without_patch: bool,
    is_without_mount: bool,
}

/// An upload that a registry waits for.
struct Session {
    url: Url,
    /// What it has already.
    offset: u64,
}

enum Begun {
    Mounted,
    Session(Session),
}

impl Upload<'_> {
    async fn attempt(&self, endpoint: &Arc<Endpoint>) -> Result<Pushed, Error> {
        if self.is_present(endpoint).await? {
            let was_sent = self.state.lock().was_sent;
            return Ok(if was_sent {
                Pushed::Uploaded
            } else {
                Pushed::Present
            });
        }
        if let Some(session) = self.interrupted(endpoint).await? {
            match self.send(endpoint, session).await {
                Ok(()) => return Ok(Pushed::Uploaded),
                Err(error) if !is_stale(&error) => return Err(error),
                Err(error) => tracing::debug!(digest = %self.digest, %error, "starting anew"),
            }
        }
        match self.begin(endpoint).await? {
            Begun::Mounted => Ok(Pushed::Mounted),
            Begun::Session(session) => self
                .send(endpoint, session)
                .await
                .map(|()| Pushed::Uploaded),
        }
    }

    async fn is_present(&self, endpoint: &Arc<Endpoint>) -> Result<bool, Error> {
        match find(self.client, endpoint, self.digest).await {
            Ok(size) => Ok(size == Some(self.size)),
            Err(error) if error.is_transient() => Err(error),
            // Who may write but not read learns from the upload.
            Err(_) => Ok(false),
        }
    }

    /// How an interrupted upload stands.
    async fn interrupted(&self, endpoint: &Arc<Endpoint>) -> Result<Option<Session>, Error> {
        let Some(url) = self.state.lock().interrupted.take() else {
            return Ok(None);
        };
        let reply = match self.client.get(endpoint, &url, &HeaderMap::new()).await {
            Ok(reply) => reply,
            // The next attempt starts anew, after a pause.
            Err(failure) if failure.error.is_transient() => return Err(failure.into()),
            Err(_) => return Ok(None),
        };
        let Some(offset) = stored(&reply).filter(|offset| *offset <= self.size) else {
            return Ok(None);
        };
        let url = location(&reply)?.unwrap_or(url);
        let mut state = self.state.lock();
        state.stored = state.stored.max(offset);
        Ok(Some(Session { url, offset }))
    }

    async fn begin(&self, endpoint: &Arc<Endpoint>) -> Result<Begun, Error> {
        if let Some(begun) = self.mount(endpoint).await? {
            return Ok(begun);
        }
        let reply = self.post(endpoint, &endpoint.uploads(None)).await?;
        session(&reply).map(Begun::Session)
    }

    /// `None` if it is not to be had this way. A registry may also answer with an ordinary upload.
    async fn mount(&self, endpoint: &Arc<Endpoint>) -> Result<Option<Begun>, Error> {
        let is_without = self.state.lock().is_without_mount;
        let Some(from) = self.from.filter(|_| !is_without) else {
            return Ok(None);
        };
        let endpoint = Arc::new(endpoint.pushing(Some(from)));
        let url = endpoint.uploads(Some((self.digest, from)));
        match self.post(&endpoint, &url).await {
            Ok(reply) if reply.status == StatusCode::CREATED => {
                add(&self.client.transport.counters().mounts, 1);
                Ok(Some(Begun::Mounted))
            }
            Ok(reply) => {
                self.state.lock().is_without_mount = true;
                session(&reply).map(|session| Some(Begun::Session(session)))
            }
            Err(failure) if failure.error.is_transient() => Err(failure.into()),
            Err(failure) => {
                let error = failure.error;
                tracing::debug!(digest = %self.digest, from, %error, "cannot mount");
                self.state.lock().is_without_mount = true;
                Ok(None)
            }
        }
    }

    async fn post(&self, endpoint: &Arc<Endpoint>, url: &Url) -> Result<Reply, Failure> {
        let ask = Ask {
            method: &Method::POST,
            headers: &HeaderMap::new(),
            payload: Payload::Empty,
        };
        self.client.ask(endpoint, url, ask).await
    }

    async fn send(&self, endpoint: &Arc<Endpoint>, session: Session) -> Result<(), Error> {
        let is_without_patch = self.state.lock().is_without_patch;
        if session.offset == 0 && (self.size <= ONE_REQUEST || is_without_patch) {
            return self.put(endpoint, &session.url, self.size).await;
        }
        let url = match self.patch(endpoint, &session).await {
            Ok(url) => url,
            Err(failure) if session.offset == 0 && is_unsupported(&failure.error) => {
                self.state.lock().is_without_patch = true;
                let reply = self.post(endpoint, &endpoint.uploads(None)).await?;
                let Session { url, .. } = self::session(&reply)?;
                return self.put(endpoint, &url, self.size).await;
            }
            Err(failure) => {
                self.keep(session.url, &failure.error);
                return Err(failure.into());
            }
        };
        let put = self.put(endpoint, &url, 0).await;
        put.inspect_err(|error| self.keep(url, error))
    }

    fn keep(&self, url: Url, error: &Error) {
        if error.is_transient() {
            self.state.lock().interrupted = Some(url);
        }
    }

    /// All that is missing. The answer says where to go on.
    async fn patch(&self, endpoint: &Arc<Endpoint>, session: &Session) -> Result<Url, Failure> {
        let offset = session.offset;
        let length = self.size.saturating_sub(offset);
        if length == 0 {
            return Ok(session.url.clone());
        }
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, OCTETS)]);
        // Without it, an upload from its start is a plain stream, which more registries take.
        if offset > 0
            && let Ok(range) = format!("{offset}-{}", self.size.saturating_sub(1)).try_into()
        {
            headers.insert(CONTENT_RANGE, range);
        }
        let ask = Ask {
            method: &Method::PATCH,
            headers: &headers,
            payload: Payload::Stream {
                length,
                open: &|| (self.body)(offset),
            },
        };
        let reply = self.client.ask(endpoint, &session.url, ask).await?;
        Ok(location(&reply)?.unwrap_or_else(|| session.url.clone()))
    }

    /// Ends an upload, with all of its `length` bytes or with none.
    async fn put(&self, endpoint: &Arc<Endpoint>, url: &Url, length: u64) -> Result<(), Error> {
        let mut url = url.clone();
        url.query_pairs_mut()
            .append_pair("digest", self.digest.as_ref());
        let open = || (self.body)(0);
        let payload = match length {
            0 => Payload::Empty,
            length => Payload::Stream {
                length,
                open: &open,
            },
        };
        let ask = Ask {
            method: &Method::PUT,
            headers: &HeaderMap::from_iter([(CONTENT_TYPE, OCTETS)]),
            payload,
        };
        self.state.lock().was_sent = true;
        self.client.ask(endpoint, &url, ask).await?;
        add(&self.client.transport.counters().pushes, 1);
        Ok(())
    }
}

/// An upload begun earlier may be gone, or differ from what the registry says of it; another one may do.
fn is_stale(error: &Error) -> bool {
    !error.is_transient() && !error.is_denied() && !matches!(error, Error::Content { .. })
}

/// The ways registries say that they take an upload only in one piece.
fn is_unsupported(error: &Error) -> bool {
    match error {
        Error::NotFound { .. } => true,
        Error::Status { status, .. } => matches!(status, 400 | 405 | 415 | 501),
        _ => false,
    }
}

fn session(reply: &Reply) -> Result<Session, Error> {
    let url = location(reply)?.ok_or_else(|| Error::Malformed {
        target: reply.target().to_owned(),
        reason: "the host does not say where to upload to".to_owned(),
    })?;
    Ok(Session { url, offset: 0 })
}

fn location(reply: &Reply) -> Result<Option<Url>, Error> {
    let location = reply.headers.get(LOCATION);
    location
        .map(|location| next(&reply.url, location))
        .transpose()
}

/// How much an upload has, of which `Range` tells the last offset.
fn stored(reply: &Reply) -> Option<u64> {
    let range = reply.headers.get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    // `0-0` stands for nothing as well as for one byte, with which nothing is lost.
    (first == 0 && last > 0).then(|| last.saturating_add(1))
}
