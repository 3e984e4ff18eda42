//! How hosts are reached: timeouts, retries, mirrors, certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Settings of a [`Registry`](crate::Registry). `Duration::MAX` means "no limit".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Longest wait for a TCP and TLS connection.
    pub connect_timeout: Duration,
    /// Longest wait for the head of an answer once connected.
    pub header_timeout: Duration,
    /// Longest time for one request with its body; [`stream`](crate::Repository::stream) is exempt.
    pub request_timeout: Duration,
    /// Longest silence within a body before its connection is given up.
    pub stall_timeout: Duration,
    /// How often a failed operation is repeated; 8 means nine rounds.
    pub max_retries: u32,
    /// Upper bound of the first pause between rounds; it doubles with each.
    pub min_wait: Duration,
    /// Upper bound of any pause, also of one the server asks for.
    pub max_wait: Duration,
    /// How long a token or password is used before the credentials are asked again.
    pub auth_ttl: Duration,
    /// How long a repository without the referrers API is not asked for it again.
    pub referrers_ttl: Duration,
    /// Value of the `User-Agent` header.
    pub user_agent: String,
    /// Mirrors of a registry, by its name in references (`docker.io`); tried in order, before it.
    pub hosts: BTreeMap<String, Vec<Mirror>>,
    /// Registries (`host` or `host:port`) reached without TLS. Loopback hosts always are.
    pub plain_http: BTreeSet<String>,
    /// Certificates of single hosts (`host[:port]` as in URLs; no port where it is 443).
    pub tls: BTreeMap<String, HostTls>,
}

/// Whom a host's certificate may come from, and what we prove ourselves with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// PEM certificates of authorities, trusted besides those of the system.
    pub ca: Vec<u8>,
    pub identity: Option<Identity>,
    /// Accept any certificate.
    pub skip_verify: bool,
}

/// A client certificate. Its key cannot be printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// PEM, the certificate itself first.
    pub certificate: Vec<u8>,
    /// PEM.
    pub key: Vec<u8>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(..)")
    }
}

/// A host that answers for another registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mirror {
    /// `host[:port][/path]`; the path stands in for `/v2`.
    pub host: String,
    /// Reach it without TLS.
    pub insecure: bool,
    /// Instead of [`Options::request_timeout`].
    pub request_timeout: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            connect_timeout: Duration::from_secs(3),
            header_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(300),
            stall_timeout: Duration::from_secs(10),
            max_retries: 8,
            min_wait: Duration::from_millis(30),
            max_wait: Duration::from_secs(300),
            auth_ttl: Duration::from_secs(3600),
            referrers_ttl: Duration::from_secs(3600),
            user_agent: concat!("soci-snapshotter/", env!("CARGO_PKG_VERSION")).to_owned(),
            hosts: BTreeMap::new(),
            plain_http: BTreeSet::new(),
            tls: BTreeMap::new(),
        }
    }
}
