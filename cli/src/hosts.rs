//! containerd's registry configuration: `<directory>/<host>/hosts.toml`, and docker's certificate directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use registry::{HostTls, Identity, Mirror, Options};
use serde::Deserialize;

use crate::error::Error;

/// The members that matter to us; `toml` keeps the order of the hosts.
#[derive(Default, Deserialize)]
struct Document {
    server: Option<String>,
    #[serde(flatten)]
    own: Host,
    #[serde(default)]
    host: toml::Table,
}

#[derive(Default, Deserialize)]
struct Host {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Client>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    header: Option<BTreeMap<String, toml::Value>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A file with both, or pairs of certificate and key.
#[derive(Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<OneOrMany>),
}

/// What the directories say about one registry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// `host[:port]` that stands in for the registry; it takes pushes.
    pub server: Option<String>,
}

/// Adds what the first directory that knows `host` says to `options`.
pub(crate) fn apply(
    directories: &[PathBuf],
    host: &str,
    options: &mut Options,
) -> Result<Found, Error> {
    for directory in directories {
        for name in [host.to_owned(), escaped(host), "_default".to_owned()] {
            let directory = directory.join(name);
            let file = directory.join("hosts.toml");
            match std::fs::read_to_string(&file) {
                Ok(text) => return from_toml(&text, &file, host, options),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::file(file)(error)),
            }
            if directory.is_dir() {
                let tls = certificates(&directory)?;
                options.tls.insert(host.to_owned(), tls);
                return Ok(Found::default());
            }
        }
    }
    Ok(Found::default())
}

/// How containerd names a directory where file names take no colon.
fn escaped(host: &str) -> String {
    match host.rsplit_once(':') {
        Some((host, port)) => format!("{host}_{port}_"),
        None => host.to_owned(),
    }
}

fn from_toml(text: &str, file: &Path, host: &str, options: &mut Options) -> Result<Found, Error> {
    let malformed = |reason: String| Error::Malformed {
        what: file.display().to_string(),
        reason,
    };
    let document: Document =
        toml::from_str(text).map_err(|error| malformed(error.message().to_owned()))?;
    let directory = file.parent().unwrap_or(Path::new("."));
    let mut mirrors = Vec::new();
    let mut pushes = None;
    for (url, table) in &document.host {
        let entry: Host = table
            .clone()
            .try_into()
            .map_err(|error: toml::de::Error| malformed(error.message().to_owned()))?;
        let address = Address::parse(url).map_err(&malformed)?;
        refuse_headers(&entry).map_err(&malformed)?;
        let all = ["pull", "resolve", "push"].map(str::to_owned).to_vec();
        let can = entry.capabilities.as_ref().unwrap_or(&all);
        let can = |what: &str| can.iter().any(|c| c == what);
        set_tls(&entry, directory, &address, options)?;
        if can("pull") {
            mirrors.push(Mirror {
                host: address.root(entry.override_path),
                insecure: address.plain,
                request_timeout: None,
            });
        }
        if can("push") && pushes.is_none() {
            pushes = Some(address);
        }
    }
    refuse_headers(&document.own).map_err(&malformed)?;
    let server = match &document.server {
        Some(url) => Some(Address::parse(url).map_err(&malformed)?),
        None => None,
    };
    let own = Address {
        authority: host.to_owned(),
        path: String::new(),
        plain: false,
    };
    set_tls(
        &document.own,
        directory,
        server.as_ref().unwrap_or(&own),
        options,
    )?;
    let server = pushes.or(server);
    if let Some(server) = &server {
        if !matches!(server.path.as_str(), "" | "/v2") {
            let reason = format!("a path in the server {} is not supported", server.authority);
            return Err(malformed(reason));
        }
        if server.plain {
            options.plain_http.insert(server.authority.clone());
        }
    }
    let server = server
        .map(|server| server.authority)
        .filter(|server| server != host && !is_hub(server, host));
    let name = server.clone().unwrap_or_else(|| host.to_owned());
    mirrors.retain(|mirror| mirror.host != format!("{name}/v2"));
    if !mirrors.is_empty() {
        options.hosts.insert(name, mirrors);
    }
    Ok(Found { server })
}

/// Docker Hub's registry has another name than its images.
fn is_hub(server: &str, host: &str) -> bool {
    host == "docker.io" && server == "registry-1.docker.io"
}

/// Sending a request without them would fail in ways that nobody could explain.
fn refuse_headers(host: &Host) -> Result<(), String> {
    match &host.header {
        Some(headers) if !headers.is_empty() => Err("headers are not supported".to_owned()),
        _ => Ok(()),
    }
}

struct Address {
    authority: String,
    path: String,
    plain: bool,
}

impl Address {
    fn parse(url: &str) -> Result<Self, String> {
        let (plain, rest) = match url.split_once("://") {
            Some(("https", rest)) => (false, rest),
            Some(("http", rest)) => (true, rest),
            Some(_) => return Err(format!("{url} is neither https nor http")),
            None => (false, url),
        };
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        if authority.is_empty() || authority.contains('@') {
            return Err(format!("{url} names no host"));
        }
        Ok(Address {
            authority: authority.to_owned(),
            path: path.trim_end_matches('/').to_owned(),
            plain,
        })
    }

    /// Where the API of the host begins.
    fn root(&self, is_whole: bool) -> String {
        let suffix = if is_whole || self.path.ends_with("/v2") {
            ""
        } else {
            "/v2"
        };
        format!("{}{}{suffix}", self.authority, self.path)
    }
}

fn set_tls(
    host: &Host,
    directory: &Path,
    address: &Address,
    options: &mut Options,
) -> Result<(), Error> {
    let read = |name: &String| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(Error::file(path))
    };
    let mut tls = HostTls {
        skip_verify: host.skip_verify,
        ..HostTls::default()
    };
    let authorities = match &host.ca {
        Some(OneOrMany::One(one)) => std::slice::from_ref(one),
        Some(OneOrMany::Many(many)) => many,
        None => &[],
    };
    for file in authorities {
        tls.ca.extend(read(file)?);
        tls.ca.push(b'\n');
    }
    let (certificate, key) = match &host.client {
        None => (None, None),
        Some(Client::One(both)) => (Some(both), Some(both)),
        Some(Client::Many(pairs)) => match pairs.first() {
            Some(OneOrMany::One(both)) => (Some(both), Some(both)),
            Some(OneOrMany::Many(pair)) => (pair.first(), pair.get(1).or(pair.first())),
            None => (None, None),
        },
    };
    if let (Some(certificate), Some(key)) = (certificate, key) {
        tls.identity = Some(Identity {
            certificate: read(certificate)?,
            key: read(key)?,
        });
    }
    if tls != HostTls::default() {
        options.tls.insert(address.authority.clone(), tls);
    }
    Ok(())
}

/// `*.crt` are authorities; `x.cert` and `x.key` are a client certificate.
fn certificates(directory: &Path) -> Result<HostTls, Error> {
    let mut tls = HostTls::default();
    let entries = std::fs::read_dir(directory).map_err(Error::file(directory))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files {
        let read = |path: &Path| std::fs::read(path).map_err(Error::file(path));
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => {
                tls.ca.extend(read(&file)?);
                tls.ca.push(b'\n');
            }
            Some("cert") => {
                tls.identity = Some(Identity {
                    certificate: read(&file)?,
                    key: read(&file.with_extension("key"))?,
                });
            }
            _ => {}
        }
    }
    Ok(tls)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, text: &str) -> Result<(Found, Options), Error> {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join(host);
        std::fs::create_dir(&own).unwrap();
        std::fs::write(own.join("hosts.toml"), text).unwrap();
        std::fs::write(own.join("ca.pem"), "CA").unwrap();
        std::fs::write(own.join("pair.pem"), "PAIR").unwrap();
        let mut options = Options::default();
        let found = apply(&[directory.path().to_owned()], host, &mut options)?;
        Ok((found, options))
    }

    #[test]
    fn a_mirror_for_pulls_does_not_take_pushes() {
        let (found, options) = check(
            "docker.io",
            "server = \"https://registry-1.docker.io\"\n[host.\"http://mirror:5000\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        )
        .unwrap();
        assert_eq!(found.server, None);
        let mirrors = options.hosts.get("docker.io").unwrap();
        assert_eq!(mirrors.len(), 1);
        assert_eq!(mirrors[0].host, "mirror:5000/v2");
        assert!(mirrors[0].insecure);
    }

    #[test]
    fn a_server_stands_in_for_the_registry() {
        let (found, options) =
            check("example.com", "server = \"http://127.0.0.1:5000\"\n").unwrap();
        assert_eq!(found.server.as_deref(), Some("127.0.0.1:5000"));
        assert!(options.plain_http.contains("127.0.0.1:5000"));
    }

    #[test]
    fn certificates_are_found_beside_the_file() {
        let (_, options) = check(
            "example.com",
            "ca = \"ca.pem\"\nclient = [[\"pair.pem\", \"pair.pem\"]]\nskip_verify = true\n",
        )
        .unwrap();
        let tls = options.tls.get("example.com").unwrap();
        assert_eq!(tls.ca, b"CA\n");
        assert!(tls.skip_verify);
        assert_eq!(tls.identity.as_ref().unwrap().key, b"PAIR");
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        for text in [
            "server = \"ftp://x\"",
            "server = \"https://x/path\"",
            "[host.\"https://x\".header]\nx = \"y\"",
            "server = 1",
            "ca = \"absent.pem\"",
        ] {
            assert!(check("example.com", text).is_err(), "{text}");
        }
    }
}
