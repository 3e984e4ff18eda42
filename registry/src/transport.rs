//! One HTTP request, one answer: connection pools, timeouts, bounded bodies. No redirects, no retries, no authentication.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::ClientBuilder;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Url;

use crate::address::Zone;
use crate::counters::{Counters, add};
use crate::error::shown;
use crate::{Error, Options};

/// A reader's share of memory before a byte has arrived.
const FIRST_ALLOCATION: usize = 1 << 20;

pub(crate) struct Transport {
    /// For hosts from our own configuration or references: any address.
    direct: reqwest::Client,
    /// The same for loopback hosts, which no proxy can reach for us.
    local: reqwest::Client,
    /// For hosts a server sent us to: names must resolve into the network.
    network: reqwest::Client,
    /// The same where the registry itself is on the loopback device.
    loopback: reqwest::Client,
    header_timeout: Duration,
    stall_timeout: Duration,
    counters: Arc<Counters>,
}

/// How far a request may go.
#[derive(Clone, Copy)]
pub(crate) enum Route {
    Direct,
    Within(Zone),
}

pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<String>,
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
        let guarded = |limit| client(options).dns_resolver(Arc::new(Guarded { limit }));
        Ok(Transport {
            direct: build(|| client(options))?,
            local: build(|| client(options).no_proxy())?,
            network: build(|| guarded(Zone::Network))?,
            loopback: build(|| guarded(Zone::Loopback))?,
            header_timeout: options
                .connect_timeout
                .saturating_add(options.header_timeout),
            stall_timeout: options.stall_timeout,
            counters,
        })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) async fn send(&self, route: Route, request: Request) -> Result<Reply, Error> {
        let target = shown(&request.url);
        let client = match route {
            _ if Zone::of_host(&request.url) == Zone::Loopback => &self.local,
            Route::Within(Zone::Network | Zone::Nowhere) => &self.network,
            Route::Within(Zone::Loopback) => &self.loopback,
            Route::Direct | Route::Within(Zone::LinkLocal) => &self.direct,
        };
        let mut outgoing = reqwest::Request::new(request.method, request.url.clone());
        *outgoing.headers_mut() = request.headers;
        // A transformed body has other offsets and another digest.
        outgoing
            .headers_mut()
            .insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        *outgoing.body_mut() = request.body.map(reqwest::Body::from);
        tracing::trace!(
            target = %target,
            authorized = outgoing.headers().contains_key(AUTHORIZATION),
            "request"
        );

        add(&self.counters.requests, 1);
        let response = tokio::time::timeout(self.header_timeout, client.execute(outgoing))
            .await
            .map_err(|_| Error::Timeout {
                target: target.clone(),
                what: "the head of the answer",
                after: self.header_timeout,
            })?
            .map_err(|err| transport_error(&target, err))?;
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

/// Without a certificate store every TLS host is untrusted, but what is mounted, cached or served
/// without TLS goes on.
fn build(builder: impl Fn() -> ClientBuilder) -> Result<reqwest::Client, Error> {
    let failed = match builder().build() {
        Ok(client) => return Ok(client),
        Err(failed) => causes(&failed),
    };
    let untrusting = builder().tls_certs_only([]).build();
    let client = untrusting.map_err(|_| Error::Options {
        reason: failed.clone(),
    })?;
    tracing::warn!(reason = %failed, "no TLS host can be trusted; install ca-certificates");
    Ok(client)
}

fn client(options: &Options) -> ClientBuilder {
    reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(options.connect_timeout)
        // A connection that died silently must not be handed to one request after the other.
        .tcp_keepalive(Duration::from_secs(10))
        .tcp_keepalive_interval(Duration::from_secs(3))
        .tcp_keepalive_retries(3)
        .http2_keep_alive_interval(Duration::from_secs(3))
        .http2_keep_alive_timeout(Duration::from_secs(3))
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(16)
        // Bandwidth × delay of a fast link; hyper's defaults stop at some 50 MB/s over 100 ms.
        .http2_initial_stream_window_size(4 << 20)
        .http2_initial_connection_window_size(16 << 20)
        .http2_max_header_list_size(64 << 10)
}

/// Resolves names, but only to addresses a redirect may lead to; the one checked is the one connected.
struct Guarded {
    limit: Zone,
}

#[derive(Debug, thiserror::Error)]
#[error("the name resolves only to addresses a redirect must not reach")]
struct Unreachable;

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let limit = self.limit;
        Box::pin(async move {
            // Redirects to `localhost` were refused by their URL: this one is the user's own proxy.
            let limit = if name.as_str() == "localhost" {
                Zone::Loopback
            } else {
                limit
            };
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await?
                .filter(|address| limit.may_reach(Zone::of(address.ip())))
                .collect();
            if addresses.is_empty() {
                return Err(Unreachable.into());
            }
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
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

fn chain<'a>(
    err: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(err), |&err| err.source())
}

/// The whole chain in one line: reqwest's own message is only "error sending request".
fn causes(err: &(dyn StdError + 'static)) -> String {
    chain(err)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(limit: Zone, name: &str, allowed: bool) {
        let resolved = Guarded { limit }.resolve(name.parse().unwrap()).await;
        assert_eq!(resolved.is_ok(), allowed, "{limit:?} {name}");
    }

    /// Names of the form of an address resolve to it, which spares the test a name server.
    #[tokio::test]
    async fn a_name_that_resolves_to_a_local_address_is_not_connected() {
        check(Zone::Network, "10.0.0.1", true).await;
        check(Zone::Network, "127.0.0.1", false).await;
        check(Zone::Network, "169.254.169.254", false).await;
        check(Zone::Network, "0.0.0.0", false).await;
        check(Zone::Loopback, "127.0.0.1", true).await;
        check(Zone::Loopback, "169.254.169.254", false).await;
    }
}
