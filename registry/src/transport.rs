//! One HTTP request, one answer: connection pools, timeouts, bounded bodies. No redirects, no retries, no authentication.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::clients::{Clients, Route, Unreachable, causes, chain};
use crate::counters::{Counters, add};
use crate::error::shown;
use crate::payload::{Payload, Progress};
use crate::{Error, Options};

/// A reader's share of memory before a byte has arrived.
const FIRST_ALLOCATION: usize = 1 << 20;

pub(crate) struct Transport {
    clients: Clients,
    header_timeout: Duration,
    stall_timeout: Duration,
    request_timeout: Duration,
    counters: Arc<Counters>,
}

pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Payload<'a>,
}

/// The head of an answer, and its body still on the wire.
pub(crate) struct Reply {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

pub(crate) struct Body {
    response: reqwest::Response,
    target: String,
    stall_timeout: Duration,
    counters: Arc<Counters>,
}

impl Transport {
    pub(crate) fn new(options: &Options, counters: Arc<Counters>) -> Result<Self, Error> {
        Ok(Transport {
            clients: Clients::new(options)?,
            header_timeout: options
                .connect_timeout
                .saturating_add(options.header_timeout),
            stall_timeout: options.stall_timeout,
            request_timeout: options.request_timeout,
            counters,
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) async fn send(&self, route: Route, request: Request<'_>) -> Result<Reply, Error> {
        let target = shown(&request.url);
        let client = self.clients.choose(&request.url, route);
        let mut outgoing = reqwest::Request::new(request.method, request.url.clone());
        *outgoing.headers_mut() = request.headers;
        // A transformed body has other offsets and another digest.
        outgoing
            .headers_mut()
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        // Not every registry takes a body in chunks of its own framing.
        if let Some(length) = request.payload.length() {
            outgoing.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        let waiting = Waiting {
            progress: Progress::default(),
            length: request.payload.streamed(),
            patience: self.patience(outgoing.method()),
            stall: self.header_timeout.max(self.stall_timeout),
        };
        *outgoing.body_mut() = request.payload.body(&waiting.progress, &self.counters);
        tracing::trace!(
            method = %outgoing.method(),
            target = %target,
            authorized = outgoing.headers().contains_key(AUTHORIZATION),
            "request"
        );

        add(&self.counters.requests, 1);
        let response = waiting.execute(client, outgoing, &target).await?;
        Ok(Reply {
            url: request.url,
            status: response.status(),
            headers: response.headers().clone(),
            body: Body {
                response,
                target,
                stall_timeout: self.stall_timeout,
                counters: self.counters.clone(),
            },
        })
    }

    /// What is written is answered when it has been stored, which takes as long as it takes.
    fn patience(&self, method: &Method) -> Duration {
        if matches!(*method, Method::PUT | Method::PATCH) {
            self.request_timeout.max(self.header_timeout)
        } else {
            self.header_timeout
        }
    }
}

/// How long the head of an answer is waited for.
struct Waiting {
    progress: Progress,
    /// What a stream has to send.
    length: u64,
    /// Once all is sent.
    patience: Duration,
    /// While nothing moves before that.
    stall: Duration,
}

impl Waiting {
    async fn execute(
        &self,
        client: &reqwest::Client,
        outgoing: reqwest::Request,
        target: &str,
    ) -> Result<reqwest::Response, Error> {
        let mut executing = pin!(client.execute(outgoing));
        loop {
            let sent = self.progress.sent();
            let (what, after) = if sent < self.length {
                ("the next piece of the upload", self.stall)
            } else {
                ("the head of the answer", self.patience)
            };
            match tokio::time::timeout(after, executing.as_mut()).await {
                Ok(executed) => return executed.map_err(|err| self.failure(target, err)),
                Err(_) if self.progress.sent() > sent => {}
                Err(_) => {
                    return Err(Error::Timeout {
                        target: target.to_owned(),
                        what,
                        after,
                    });
                }
            }
        }
    }

    /// If our own content could not be had, that is why the connection broke.
    fn failure(&self, target: &str, err: reqwest::Error) -> Error {
        match self.progress.failure() {
            Some(reason) => Error::Content {
                target: target.to_owned(),
                reason,
            },
            None => transport_error(target, err),
        }
    }
}

impl Reply {
    pub(crate) fn target(&self) -> &str {
        &self.body.target
    }

    /// Media type without parameters, in lower case.
    pub(crate) fn content_type(&self) -> Option<String> {
        let value = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let media_type = value.split(';').next()?.trim();
        (!media_type.is_empty()).then(|| media_type.to_ascii_lowercase())
    }

    pub(crate) fn content_length(&self) -> Option<u64> {
        self.headers
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The whole body, if it has at most `limit` bytes.
    pub(crate) async fn read(self, limit: u64) -> Result<Bytes, Error> {
        self.read_with(limit, |_| ()).await
    }

    /// The same, with a look at each piece as it arrives.
    pub(crate) async fn read_with(
        mut self,
        limit: u64,
        mut inspect: impl FnMut(&[u8]),
    ) -> Result<Bytes, Error> {
        let too_large = |target: &str| Error::TooLarge {
            target: target.to_owned(),
            limit,
        };
        let announced = self.content_length();
        if announced.is_some_and(|length| length > limit) {
            return Err(too_large(self.target()));
        }
        let expected = usize::try_from(announced.unwrap_or(0)).unwrap_or(FIRST_ALLOCATION);
        let mut bytes = BytesMut::with_capacity(expected.min(FIRST_ALLOCATION));
        while let Some(chunk) = self.body.chunk().await? {
            let length = bytes.len().saturating_add(chunk.len());
            if u64::try_from(length).map_or(true, |length| length > limit) {
                return Err(too_large(self.target()));
            }
            inspect(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    }
}

impl Body {
    /// The next piece, or `None` at the end the server announced.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let chunk = tokio::time::timeout(self.stall_timeout, self.response.chunk())
            .await
            .map_err(|_| Error::Timeout {
                target: self.target.clone(),
                what: "the next piece of the body",
                after: self.stall_timeout,
            })?
            .map_err(|err| transport_error(&self.target, err))?;
        if let Some(chunk) = &chunk {
            add(
                &self.counters.bytes,
                u64::try_from(chunk.len()).unwrap_or(u64::MAX),
            );
        }
        Ok(chunk)
    }
}

fn transport_error(target: &str, err: reqwest::Error) -> Error {
    let err = err.without_url();
    let target = target.to_owned();
    if chain(&err).any(|cause| cause.is::<Unreachable>()) {
        return Error::Redirect {
            target,
            reason: Unreachable.to_string(),
        };
    }
    Error::Transport {
        target,
        reason: causes(&err),
    }
}
