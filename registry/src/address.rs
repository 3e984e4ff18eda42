//! Names and addresses of hosts, and which of them a redirect may lead to: never the machine's own or its neighbours' services, unless the registry lives there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// Where an address lies, from harmless to never right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Zone {
    Network,
    Loopback,
    /// Link-local and the addresses of cloud metadata services.
    LinkLocal,
    /// Unspecified, broadcast, multicast.
    Nowhere,
}

/// Metadata services that are not on a link-local address: Azure, Alibaba.
const METADATA_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(100, 100, 100, 200),
];
/// The same: AWS, Google Cloud.
const METADATA_V6: [Ipv6Addr; 2] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

impl Zone {
    pub(crate) fn of(address: IpAddr) -> Zone {
        match address {
            IpAddr::V4(v4) => of_v4(v4),
            IpAddr::V6(v6) => of_v6(v6),
        }
    }

    /// A name other than `localhost` counts as `Network` until it is resolved.
    pub(crate) fn of_host(url: &Url) -> Zone {
        match url.host() {
            Some(Host::Ipv4(v4)) => of_v4(v4),
            Some(Host::Ipv6(v6)) => of_v6(v6),
            Some(Host::Domain(name)) if is_localhost(name) => Zone::Loopback,
            Some(Host::Domain(_)) => Zone::Network,
            None => Zone::Nowhere,
        }
    }

    /// A registry in this zone may refer to `target`.
    pub(crate) fn may_reach(self, target: Zone) -> bool {
        target != Zone::Nowhere && target <= self
    }
}

fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

fn of_v4(v4: Ipv4Addr) -> Zone {
    if v4.is_loopback() {
        Zone::Loopback
    } else if v4.is_link_local() || METADATA_V4.contains(&v4) {
        Zone::LinkLocal
    } else if v4.octets().first() == Some(&0) || v4.is_multicast() || v4.is_broadcast() {
        Zone::Nowhere
    } else {
        Zone::Network
    }
}

fn of_v6(v6: Ipv6Addr) -> Zone {
    if v6.is_loopback() {
        Zone::Loopback
    } else if v6.is_unicast_link_local() || METADATA_V6.contains(&v6) {
        Zone::LinkLocal
    } else if v6.is_unspecified() || v6.is_multicast() {
        Zone::Nowhere
    } else {
        embedded_v4(v6).map_or(Zone::Network, of_v4)
    }
}

/// IPv4-mapped, IPv4-compatible and NAT64 addresses reach the IPv4 address in their last 32 bits.
fn embedded_v4(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
        }
        _ => None,
    }
}

/// A host as it is named in options and asked of [`Credentials`](crate::Credentials).
pub(crate) fn host_and_port(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Zone) {
        assert_eq!(Zone::of_host(&Url::parse(url).unwrap()), expected, "{url}");
    }

    #[test]
    fn disguised_addresses_are_recognised() {
        check("https://cdn.example.com/x", Zone::Network);
        check("https://10.0.0.1/", Zone::Network);
        check("https://[2001:db8::1]/", Zone::Network);
        check("http://localhost:5000/", Zone::Loopback);
        check("http://LOCALHOST./", Zone::Loopback);
        check("http://a.localhost/", Zone::Loopback);
        check("http://127.9.9.9/", Zone::Loopback);
        check("http://2130706433/", Zone::Loopback);
        check("http://0x7f.1/", Zone::Loopback);
        check("http://[::1]/", Zone::Loopback);
        check("http://[::ffff:127.0.0.1]/", Zone::Loopback);
        check("http://169.254.169.254/latest/meta-data", Zone::LinkLocal);
        check("http://2852039166/", Zone::LinkLocal);
        check("http://[::ffff:169.254.169.254]/", Zone::LinkLocal);
        check("http://[64:ff9b::a9fe:a9fe]/", Zone::LinkLocal);
        check("http://[fe80::1]/", Zone::LinkLocal);
        check("http://[fd00:ec2::254]/", Zone::LinkLocal);
        check("http://168.63.129.16/", Zone::LinkLocal);
        check("http://0.0.0.0/", Zone::Nowhere);
        check("http://[::]/", Zone::Nowhere);
        check("http://224.0.0.1/", Zone::Nowhere);
        check("http://[ff02::1]/", Zone::Nowhere);
    }

    #[test]
    fn a_registry_reaches_its_own_zone_and_the_more_harmless_ones() {
        let zones = [
            Zone::Network,
            Zone::Loopback,
            Zone::LinkLocal,
            Zone::Nowhere,
        ];
        for from in zones {
            for to in zones {
                let expected = to <= from && to != Zone::Nowhere;
                assert_eq!(from.may_reach(to), expected, "{from:?} -> {to:?}");
            }
        }
    }
}
