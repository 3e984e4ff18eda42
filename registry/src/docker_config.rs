//! Who may speak to a host: the docker configuration of the process's user, and its credential helpers.

use std::time::Duration;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use futures_util::future::{BoxFuture, FutureExt};

use crate::Error;
use crate::credentials::{Credential, Credentials, Secret};

/// A helper that hangs must not hang a read.
const HELPER_DEADLINE: Duration = Duration::from_secs(30);

/// The name docker.io has in the docker configuration.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// Reads `$DOCKER_CONFIG/config.json` or `$HOME/.docker/config.json` anew each time, so that a login or
/// a rotated secret takes effect without a restart.
#[derive(Debug, Clone, Copy, Default)]
pub struct DockerConfig;

impl Credentials for DockerConfig {
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        let server = server(host).to_owned();
        async move {
            let asked = tokio::task::spawn_blocking(move || ask(&server));
            match tokio::time::timeout(HELPER_DEADLINE, asked).await {
                Ok(Ok(answer)) => answer.map_err(|reason| failure(host, reason)),
                Ok(Err(_)) => Err(failure(host, "the process is ending".into())),
                Err(_) => Err(failure(
                    host,
                    "the credential helper does not answer".into(),
                )),
            }
        }
        .boxed()
    }
}

fn server(host: &str) -> &str {
    match host {
        "docker.io" | "registry-1.docker.io" | "index.docker.io" => DOCKER_HUB,
        other => other,
    }
}

fn failure(host: &str, reason: String) -> Error {
    Error::Credentials {
        host: host.to_owned(),
        reason,
    }
}

fn ask(server: &str) -> Result<Option<Credential>, String> {
    match docker_credential::get_credential(server) {
        Ok(DockerCredential::IdentityToken(token)) => {
            Ok(Some(Credential::IdentityToken(Secret::new(token))))
        }
        // A helper without a login for this host answers with an empty name.
        Ok(DockerCredential::UsernamePassword(username, _)) if username.is_empty() => Ok(None),
        Ok(DockerCredential::UsernamePassword(username, secret)) => {
            Ok(Some(Credential::Password {
                username,
                secret: Secret::new(secret),
            }))
        }
        Err(
            CredentialRetrievalError::NoCredentialConfigured
            | CredentialRetrievalError::ConfigNotFound,
        ) => Ok(None),
        // What a helper prints may hold the secret, so only its name is passed on.
        Err(CredentialRetrievalError::HelperFailure { helper, stdout, .. }) => {
            if stdout.contains("credentials not found") {
                Ok(None)
            } else {
                Err(format!("{helper} failed; run it by hand to see why"))
            }
        }
        Err(other) => Err(other.to_string()),
    }
}
