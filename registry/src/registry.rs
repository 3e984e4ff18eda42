//! What all repositories of a process share: connections, tokens, the health of mirrors.

use std::sync::Arc;

use oci_spec::distribution::Reference;

use crate::Error;
use crate::auth::Auth;
use crate::capabilities::Capabilities;
use crate::client::Client;
use crate::counters::{Counters, Counts};
use crate::credentials::Credentials;
use crate::endpoint::resolve;
use crate::hosts::Hosts;
use crate::options::Options;
use crate::repository::Repository;
use crate::retry::Retry;
use crate::transport::Transport;

/// One per process. Cheap to clone.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    options: Options,
    client: Arc<Client>,
    retry: Arc<Retry>,
    capabilities: Arc<Capabilities>,
    counters: Arc<Counters>,
}

impl Registry {
    pub fn new(options: Options, credentials: Arc<dyn Credentials>) -> Result<Self, Error> {
        let counters = Arc::<Counters>::default();
        let transport = Arc::new(Transport::new(&options, counters.clone())?);
        let auth = Arc::new(Auth::new(credentials, transport.clone(), options.auth_ttl));
        Ok(Registry(Arc::new(Inner {
            client: Arc::new(Client { transport, auth }),
            retry: Arc::new(Retry::new(&options, counters.clone())),
            capabilities: Arc::new(Capabilities::new(options.referrers_ttl)),
            options,
            counters,
        })))
    }

    /// The repository of an image; tag and digest are of no account.
    pub fn repository(&self, reference: &Reference) -> Repository {
        let inner = &*self.0;
        let endpoints = resolve(&inner.options, reference)
            .map(|endpoints| endpoints.into_iter().map(Arc::new).collect());
        let hosts = Hosts {
            client: inner.client.clone(),
            retry: inner.retry.clone(),
            endpoints,
        };
        Repository {
            hosts,
            capabilities: inner.capabilities.clone(),
        }
    }

    pub fn counters(&self) -> Counts {
        self.0.counters.now()
    }
}
