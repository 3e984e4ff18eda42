//! The registries a command talks to, as its flags say.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt};
use oci_spec::distribution::Reference;
use registry::{
    Credential, Credentials, DockerConfig, HostTls, Identity, Options, Registry, Secret,
};

use crate::args::RegistryFlags;
use crate::error::Error;
use crate::hosts;
use crate::location::reference;
use crate::store::Remote;

/// The registry crate's client, and where references really lead.
pub(crate) struct Reach {
    registry: Registry,
    /// From the host in a reference to the host that stands in for it.
    servers: Vec<(String, String)>,
}

impl Reach {
    /// For a command that deals with these references.
    pub(crate) fn new(flags: &RegistryFlags, references: &[&Reference]) -> Result<Self, Error> {
        let mut options = Options {
            user_agent: concat!("soci/", env!("CARGO_PKG_VERSION")).to_owned(),
            // An upload in one piece may take as long as it needs; a stalled one does not.
            request_timeout: std::time::Duration::MAX,
            ..Options::default()
        };
        let mut servers = Vec::new();
        let mut named = Vec::new();
        for reference in references {
            let host = reference.registry().to_owned();
            let found = hosts::apply(&flags.hosts_dir, &host, &mut options)?;
            let server = found.server.unwrap_or_else(|| host.clone());
            tls(flags, &server, &mut options)?;
            if flags.plain_http {
                options.plain_http.insert(server.clone());
            }
            named.push(server.clone());
            if host == "docker.io" {
                named.push("registry-1.docker.io".to_owned());
            }
            servers.push((host, server));
        }
        let credentials: Arc<dyn Credentials> = match credential(flags) {
            Some(credential) => Arc::new(Given {
                hosts: named,
                credential,
            }),
            None => Arc::new(DockerConfig),
        };
        Ok(Reach {
            registry: Registry::new(options, credentials)?,
            servers,
        })
    }

    pub(crate) fn image(&self, image: &Reference) -> Result<Remote, Error> {
        let server = self
            .servers
            .iter()
            .find(|(host, _)| host == image.registry());
        let image = match server {
            Some((host, server)) if host != server => {
                let name = image.to_string();
                let rest = name.strip_prefix(host.as_str()).unwrap_or(&name);
                reference(&format!("{server}{rest}"))?
            }
            _ => image.clone(),
        };
        Ok(Remote::new(&self.registry, image))
    }
}

fn tls(flags: &RegistryFlags, host: &str, options: &mut Options) -> Result<(), Error> {
    let read = |path: &std::path::PathBuf| std::fs::read(path).map_err(Error::file(path));
    let mut tls = options.tls.remove(host).unwrap_or_default();
    tls.skip_verify |= flags.skip_verify;
    if let Some(file) = &flags.tlscacert {
        tls.ca.extend(read(file)?);
    }
    if let (Some(certificate), Some(key)) = (&flags.tlscert, &flags.tlskey) {
        tls.identity = Some(Identity {
            certificate: read(certificate)?,
            key: read(key)?,
        });
    }
    if tls != HostTls::default() {
        options.tls.insert(host.to_owned(), tls);
    }
    Ok(())
}

fn credential(flags: &RegistryFlags) -> Option<Credential> {
    if let Some(token) = &flags.refresh {
        return Some(Credential::IdentityToken(Secret::new(token.as_str())));
    }
    let user = flags.user.as_deref()?;
    let (username, secret) = user.split_once(':').unwrap_or((user, ""));
    Some(Credential::Password {
        username: username.to_owned(),
        secret: Secret::new(secret),
    })
}

/// Given on the command line, for the registries of the command and for no other host.
struct Given {
    hosts: Vec<String>,
    credential: Credential,
}

impl Credentials for Given {
    fn get<'a>(
        &'a self,
        host: &'a str,
    ) -> BoxFuture<'a, Result<Option<Credential>, registry::Error>> {
        let is_meant = self.hosts.iter().any(|known| known == host);
        std::future::ready(Ok(is_meant.then(|| self.credential.clone()))).boxed()
    }
}
