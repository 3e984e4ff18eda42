//! Keeps what is being written from the garbage collector until something refers to it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto::leases::v1::{CreateRequest, DeleteRequest};

use super::channel::Client;
use crate::error::Error;
use crate::time;

/// A lease that nobody releases, because we were killed, ends by itself.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
const EXPIRES: &str = "containerd.io/gc.expire";

pub(crate) struct Lease {
    client: Arc<Client>,
    id: String,
}

impl Lease {
    pub(super) async fn take(client: &Arc<Client>) -> Result<Self, Error> {
        let id = format!("soci-{:016x}", fastrand::u64(..));
        let expires = time::rfc3339(SystemTime::now() + LIFETIME);
        let request = CreateRequest {
            id: id.clone(),
            labels: [(EXPIRES.to_owned(), expires)].into(),
        };
        let answer = client.leases().create(request).await;
        answer.map_err(|status| client.failed("lease", &status))?;
        Ok(Lease {
            client: client.clone(),
            id,
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// What nothing refers to by now may be collected.
    pub(crate) async fn release(self) -> Result<(), Error> {
        let request = DeleteRequest {
            id: self.id,
            sync: false,
        };
        let answer = self.client.leases().delete(request).await;
        answer.map_err(|status| self.client.failed("lease", &status))?;
        Ok(())
    }
}
