//! Who we are to a host: credentials that cannot be printed.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::Error;

/// Finds the credential for a host. Asked once per token exchange, not once per request.
pub trait Credentials: Send + Sync {
    /// `host` is the one contacted, `host[:port]`: `registry-1.docker.io` for Docker Hub, the
    /// mirror's for a mirror. `None` is anonymous.
    fn get<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>>;
}

/// What proves who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Sent as Basic authorization, to the registry or its token endpoint as the challenge says.
    Password { username: String, secret: Secret },
    /// An OAuth2 refresh token, exchanged at the token endpoint by POST.
    IdentityToken(Secret),
}

/// A string that reveals itself only to [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<str>);

impl Secret {
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Secret(secret.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// No credentials for any host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

impl Credentials for Anonymous {
    fn get<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
