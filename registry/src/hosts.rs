//! The hosts of one repository and the means to ask them.

use std::sync::Arc;

use crate::Error;
use crate::client::Client;
use crate::endpoint::Endpoint;
use crate::retry::Retry;

#[derive(Clone)]
pub(crate) struct Hosts {
    pub(crate) client: Arc<Client>,
    pub(crate) retry: Arc<Retry>,
    /// An unusable reference is reported by the first request.
    pub(crate) endpoints: Result<Arc<[Arc<Endpoint>]>, Error>,
}

impl Hosts {
    /// See [`Retry::run`].
    pub(crate) async fn each<T, F, Fut>(&self, operation: F) -> Result<T, Error>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let endpoints = self.endpoints.as_ref().map_err(Clone::clone)?;
        self.retry.run(endpoints, operation).await
    }

    /// The same with one endpoint alone.
    pub(crate) async fn at<T, F, Fut>(&self, endpoint: Endpoint, operation: F) -> Result<T, Error>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        self.retry.run(&[Arc::new(endpoint)], operation).await
    }

    /// The registry itself, which comes last; all others are mirrors.
    pub(crate) fn origin(&self) -> Result<&Arc<Endpoint>, Error> {
        let endpoints = self.endpoints.as_ref().map_err(Clone::clone)?;
        endpoints.last().ok_or_else(|| Error::Options {
            reason: "no host to ask".to_owned(),
        })
    }

    /// The registry itself has the last word; mirrors only the first.
    pub(crate) fn is_origin(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.origin().is_ok_and(|last| Arc::ptr_eq(last, endpoint))
    }
}
