//! The HTTP clients: one connection pool per reach, for the default certificates and for each host with its own.

use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder};
use url::Url;

use crate::address::{Zone, host_and_port};
use crate::options::{HostTls, Identity};
use crate::{Error, Options};

/// How far a request may go.
#[derive(Clone, Copy)]
pub(crate) enum Route {
    Direct,
    Within(Zone),
}

pub(crate) struct Clients {
    default: Reaches,
    /// By `host[:port]`: a client certificate is shown to its own host only.
    hosts: BTreeMap<String, Reaches>,
}

struct Reaches {
    /// For hosts from our own configuration or references: any address.
    direct: reqwest::Client,
    /// The same for loopback hosts, which no proxy can reach for us.
    local: reqwest::Client,
    /// For hosts a server sent us to: names must resolve into the network.
    network: reqwest::Client,
    /// The same where the registry itself is on the loopback device.
    loopback: reqwest::Client,
}

impl Clients {
    pub(crate) fn new(options: &Options) -> Result<Self, Error> {
        let host = |(host, tls): (&String, &HostTls)| {
            let wrong = |reason: String| Error::Options {
                reason: format!("TLS of {host}: {reason}"),
            };
            let tls = Tls::new(tls).map_err(wrong)?;
            Ok((host.clone(), Reaches::new(options, &tls)?))
        };
        Ok(Clients {
            default: Reaches::new(options, &Tls::default())?,
            hosts: options.tls.iter().map(host).collect::<Result<_, Error>>()?,
        })
    }

    pub(crate) fn choose(&self, url: &Url, route: Route) -> &reqwest::Client {
        let own = (!self.hosts.is_empty())
            .then(|| self.hosts.get(&host_and_port(url)))
            .flatten();
        let reaches = own.unwrap_or(&self.default);
        match route {
            _ if Zone::of_host(url) == Zone::Loopback => &reaches.local,
            Route::Within(Zone::Network | Zone::Nowhere) => &reaches.network,
            Route::Within(Zone::Loopback) => &reaches.loopback,
            Route::Direct | Route::Within(Zone::LinkLocal) => &reaches.direct,
        }
    }
}

impl Reaches {
    fn new(options: &Options, tls: &Tls) -> Result<Self, Error> {
        let guarded = |limit| client(options, tls).dns_resolver(Arc::new(Guarded { limit }));
        Ok(Reaches {
            direct: build(|| client(options, tls))?,
            local: build(|| client(options, tls).no_proxy())?,
            network: build(|| guarded(Zone::Network))?,
            loopback: build(|| guarded(Zone::Loopback))?,
        })
    }
}

/// [`HostTls`], parsed.
#[derive(Default)]
struct Tls {
    ca: Vec<Certificate>,
    identity: Option<reqwest::Identity>,
    skip_verify: bool,
}

impl Tls {
    fn new(tls: &HostTls) -> Result<Self, String> {
        let ca = Certificate::from_pem_bundle(&tls.ca)
            .map_err(|err| format!("the authorities are not PEM: {}", causes(&err)))?;
        if ca.is_empty() && !tls.ca.is_empty() {
            return Err("there is no certificate among the authorities".to_owned());
        }
        let identity = tls.identity.as_ref().map(identity).transpose()?;
        Ok(Tls {
            ca,
            identity,
            skip_verify: tls.skip_verify,
        })
    }
}

fn identity(identity: &Identity) -> Result<reqwest::Identity, String> {
    let pem = [&identity.certificate[..], b"\n", &identity.key[..]].concat();
    // Not the parser's message: it may quote the key.
    reqwest::Identity::from_pem(&pem)
        .map_err(|_| "the client certificate or its key is not PEM".to_owned())
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

fn client(options: &Options, tls: &Tls) -> ClientBuilder {
    let client = reqwest::Client::builder()
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
        .tls_certs_merge(tls.ca.iter().cloned())
        .tls_danger_accept_invalid_certs(tls.skip_verify);
    match &tls.identity {
        Some(identity) => client.identity(identity.clone()),
        None => client,
    }
}

/// Resolves names, but only to addresses a redirect may lead to; the one checked is the one connected.
struct Guarded {
    limit: Zone,
}

#[derive(Debug, thiserror::Error)]
#[error("the name resolves only to addresses a redirect must not reach")]
pub(crate) struct Unreachable;

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

pub(crate) fn chain<'a>(
    err: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(err), |&err| err.source())
}

/// The whole chain in one line: reqwest's own message is only "error sending request".
pub(crate) fn causes(err: &(dyn StdError + 'static)) -> String {
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

    #[test]
    fn unusable_certificates_are_reported_by_their_host_and_not_quoted() {
        let garbage = b"-----BEGIN PRIVATE KEY-----\ncanary\n-----END PRIVATE KEY-----\n";
        let identity = Identity {
            certificate: b"canary".to_vec(),
            key: garbage.to_vec(),
        };
        let unusable = [
            HostTls {
                ca: b"canary".to_vec(),
                ..HostTls::default()
            },
            HostTls {
                identity: Some(identity),
                ..HostTls::default()
            },
        ];
        for tls in unusable {
            let options = Options {
                tls: [("r.example:5000".to_owned(), tls)].into(),
                ..Options::default()
            };
            let error = Clients::new(&options).err().unwrap().to_string();
            assert!(error.contains("r.example:5000"), "{error}");
            assert!(!error.contains("canary"), "{error}");
            assert!(!format!("{:?}", options.tls["r.example:5000"].identity).contains("99, 97"));
        }
    }
}
