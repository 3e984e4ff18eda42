//! Which hosts serve a repository, in which order, and under which URLs.

use std::time::Duration;

use oci_spec::distribution::Reference;
use oci_spec::image::Digest;
use url::Url;

use crate::address::{Zone, host_and_port};
use crate::{Error, Mirror, Options};

const DOCKER_HUB: &str = "docker.io";
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// One repository on one host.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// As written in messages and asked of [`Credentials`](crate::Credentials): `host[:port]`.
    pub(crate) host: String,
    pub(crate) repository: String,
    /// `scheme://host/v2/<repository>`, or with the mirror's own path.
    pub(crate) base: Url,
    pub(crate) request_timeout: Duration,
    /// What a token is asked for: `repository:<name>:<actions>`, several separated by a space.
    pub(crate) scope: String,
    pub(crate) is_pushing: bool,
    /// For mirrors: the registry they stand in for, so that one mirror can serve several.
    namespace: Option<String>,
}

/// Mirrors first, the registry itself last.
pub(crate) fn resolve(options: &Options, reference: &Reference) -> Result<Vec<Endpoint>, Error> {
    let registry = reference.registry();
    let invalid = |host: &str, reason: &str| Error::Reference {
        reference: format!("{registry}/{}", reference.repository()),
        reason: format!("{host}: {reason}"),
    };
    let endpoint = |mirror: &Mirror, namespace: Option<&str>| {
        let base = base(options, mirror, reference.repository())
            .map_err(|reason| invalid(&mirror.host, reason))?;
        Ok(Endpoint {
            host: host_and_port(&base),
            scope: format!("repository:{}:pull", reference.repository()),
            is_pushing: false,
            repository: reference.repository().to_owned(),
            base,
            request_timeout: mirror.request_timeout.unwrap_or(options.request_timeout),
            namespace: namespace
                .filter(|name| *name != mirror.host)
                .map(str::to_owned),
        })
    };
    let host = if registry == DOCKER_HUB {
        DOCKER_HUB_HOST
    } else {
        registry
    };
    let origin = Mirror {
        host: host.to_owned(),
        ..Mirror::default()
    };
    let mirrors = options
        .hosts
        .get(registry)
        .map(Vec::as_slice)
        .unwrap_or_default();
    mirrors
        .iter()
        .map(|mirror| endpoint(mirror, Some(registry)))
        .chain(std::iter::once_with(|| endpoint(&origin, None)))
        .collect()
}

fn base(options: &Options, mirror: &Mirror, repository: &str) -> Result<Url, &'static str> {
    let address = mirror.host.as_str();
    let parse = |url: &str| Url::parse(url).map_err(|_| "not a host name");
    let has_scheme = address.starts_with("http://") || address.starts_with("https://");
    let mut url = if has_scheme {
        parse(address)?
    } else {
        parse(&format!("https://{address}"))?
    };
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("only a host, a port and a path belong here");
    }
    let host = host_and_port(&url);
    // Whoever writes 443 or a certificate means TLS, even on the loopback device.
    let authority = address.split('/').next().unwrap_or_default();
    let wants_tls = authority.ends_with(":443") || options.tls.contains_key(&host);
    let is_local = !has_scheme && Zone::of_host(&url) == Zone::Loopback && !wants_tls;
    if mirror.insecure || options.plain_http.contains(&host) || is_local {
        // https and http are both special schemes, so this cannot fail.
        url.set_scheme("http")
            .map_err(|()| "cannot be reached without TLS")?;
    }
    if url.path() == "/" {
        url.set_path("/v2");
    }
    push(&mut url, repository.split('/'))?;
    Ok(url)
}

/// Appends path segments, none of which can climb out of the path.
fn push<'a>(url: &mut Url, segments: impl Iterator<Item = &'a str>) -> Result<(), &'static str> {
    let mut path = url.path_segments_mut().map_err(|()| "not a host name")?;
    path.pop_if_empty();
    for segment in segments {
        if matches!(segment, "" | "." | "..") {
            return Err("not a repository name");
        }
        path.push(segment);
    }
    Ok(())
}

impl Endpoint {
    pub(crate) fn blob(&self, digest: &Digest) -> Url {
        self.url("blobs", digest.as_ref())
    }

    /// `reference` is a digest or a tag.
    pub(crate) fn manifest(&self, reference: &str) -> Url {
        self.url("manifests", reference)
    }

    pub(crate) fn referrers(&self, subject: &Digest, artifact_type: &str) -> Url {
        let mut url = self.url("referrers", subject.as_ref());
        url.query_pairs_mut()
            .append_pair("artifactType", artifact_type);
        url
    }

    fn url(&self, kind: &str, name: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(kind).push(name);
        }
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// Where an upload begins; `mount` asks for a blob of another repository instead.
    pub(crate) fn uploads(&self, mount: Option<(&Digest, &str)>) -> Url {
        // The empty name makes the slash at the end, on which registries insist.
        let mut url = self.url("blobs", "uploads");
        if let Ok(mut path) = url.path_segments_mut() {
            path.push("");
        }
        if let Some((digest, from)) = mount {
            url.query_pairs_mut()
                .append_pair("mount", digest.as_ref())
                .append_pair("from", from);
        }
        url
    }

    /// The same with the right to write, and to mount blobs of `from`.
    pub(crate) fn pushing(&self, from: Option<&str>) -> Endpoint {
        let mut scope = format!("repository:{}:pull,push", self.repository);
        if let Some(from) = from {
            scope.push_str(&format!(" repository:{from}:pull"));
        }
        Endpoint {
            scope,
            is_pushing: true,
            ..self.clone()
        }
    }

    /// For what takes as long as it makes progress.
    pub(crate) fn unhurried(self) -> Endpoint {
        Endpoint {
            request_timeout: Duration::MAX,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &Options, reference: &str, expected: &[&str]) {
        let endpoints = resolve(options, &reference.parse().unwrap()).unwrap();
        let urls: Vec<String> = endpoints
            .iter()
            .map(|e| e.manifest("t").to_string())
            .collect();
        assert_eq!(urls, expected, "{reference}");
    }

    fn mirror(host: &str) -> Mirror {
        Mirror {
            host: host.to_owned(),
            ..Mirror::default()
        }
    }

    #[test]
    fn a_reference_names_its_host() {
        let options = Options {
            plain_http: ["plain.example:5000".to_owned()].into(),
            ..Options::default()
        };
        let check = |reference, url| check(&options, reference, &[url]);
        check(
            "alpine",
            "https://registry-1.docker.io/v2/library/alpine/manifests/t",
        );
        check(
            "docker.io/a/b",
            "https://registry-1.docker.io/v2/a/b/manifests/t",
        );
        check("ghcr.io/a/b/c:t", "https://ghcr.io/v2/a/b/c/manifests/t");
        check(
            "r.example:8443/a",
            "https://r.example:8443/v2/a/manifests/t",
        );
        check("localhost:5000/a", "http://localhost:5000/v2/a/manifests/t");
        check("127.0.0.1:5000/a", "http://127.0.0.1:5000/v2/a/manifests/t");
        check("localhost:443/a", "https://localhost/v2/a/manifests/t");
        check(
            "plain.example:5000/a",
            "http://plain.example:5000/v2/a/manifests/t",
        );
        check("plain.example/a", "https://plain.example/v2/a/manifests/t");
    }

    #[test]
    fn mirrors_come_first_with_their_own_path_and_scheme() {
        let mut options = Options::default();
        let mirrors = vec![
            mirror("m.example"),
            mirror("m.example:8080/proxy/v2/hub/"),
            Mirror {
                insecure: true,
                ..mirror("10.0.0.1:5000")
            },
            mirror("http://explicit.example"),
        ];
        options.hosts.insert("docker.io".to_owned(), mirrors);
        let expected = [
            "https://m.example/v2/library/a/manifests/t?ns=docker.io",
            "https://m.example:8080/proxy/v2/hub/library/a/manifests/t?ns=docker.io",
            "http://10.0.0.1:5000/v2/library/a/manifests/t?ns=docker.io",
            "http://explicit.example/v2/library/a/manifests/t?ns=docker.io",
            "https://registry-1.docker.io/v2/library/a/manifests/t",
        ];
        check(&options, "a", &expected);
        check(&options, "quay.io/a", &["https://quay.io/v2/a/manifests/t"]);
    }

    #[test]
    fn a_name_cannot_leave_its_path() {
        for (registry, repository) in [
            ("r.example", "a/../b"),
            ("r.example", ""),
            ("r.example", "a//b"),
            ("u:p@r", "a"),
        ] {
            let reference =
                Reference::with_tag(registry.to_owned(), repository.to_owned(), "t".to_owned());
            assert!(
                resolve(&Options::default(), &reference).is_err(),
                "{registry} {repository}"
            );
        }
        let odd = Reference::with_tag("r.example".to_owned(), "a?b#c".to_owned(), "t".to_owned());
        let endpoints = resolve(&Options::default(), &odd).unwrap();
        assert_eq!(endpoints[0].base.path(), "/v2/a%3Fb%23c");
    }
}
