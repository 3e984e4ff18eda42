//! The connection, and the headers that go with every request.

use std::time::Duration;

use oci_spec::image::Digest;
use proto::content::v1::content_client::ContentClient;
use proto::images::v1::images_client::ImagesClient;
use proto::leases::v1::leases_client::LeasesClient;
use proto::leases::v1::{AddResourceRequest, Resource};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::error::Error;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// containerd reads up to this much at once.
const MAX_MESSAGE: usize = 16 << 20;

pub(super) type Authored = InterceptedService<Channel, Headers>;

#[derive(Clone)]
pub(super) struct Headers {
    namespace: MetadataValue<Ascii>,
    lease: Option<MetadataValue<Ascii>>,
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        metadata.insert("containerd-namespace", self.namespace.clone());
        if let Some(lease) = &self.lease {
            metadata.insert("containerd-lease", lease.clone());
        }
        Ok(request)
    }
}

pub(super) struct Client {
    address: String,
    channel: Channel,
    headers: Headers,
}

impl Client {
    pub(super) async fn connect(address: &str, namespace: &str) -> Result<Self, Error> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        let unreachable = |reason: String| Error::Containerd {
            address: path.to_owned(),
            reason,
        };
        let namespace = namespace.parse().map_err(|_| {
            Error::usage(format!("{namespace:?} cannot be a namespace of containerd"))
        })?;
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))
            .map_err(|error| unreachable(error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect().await.map_err(|error| {
            let why = std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string);
            unreachable(format!(
                "{why}; is it running, and may this user open its socket? `soci publish` and `soci convert --standalone` need no containerd"
            ))
        })?;
        Ok(Client {
            address: path.to_owned(),
            channel,
            headers: Headers {
                namespace,
                lease: None,
            },
        })
    }

    pub(super) fn with_lease(&self, lease: &str) -> Result<Self, Error> {
        let lease = lease.parse().map_err(|_| Error::Task("lease"))?;
        Ok(Client {
            address: self.address.clone(),
            channel: self.channel.clone(),
            headers: Headers {
                lease: Some(lease),
                ..self.headers.clone()
            },
        })
    }

    pub(super) fn place(&self) -> String {
        let namespace = self.headers.namespace.to_str().unwrap_or_default();
        format!("containerd's namespace {namespace}")
    }

    pub(super) fn failed(&self, what: &'static str, status: &Status) -> Error {
        self.failure(what)(status)
    }

    /// [`failed`](Self::failed) for a stream that outlives the client.
    pub(super) fn failure(&self, what: &'static str) -> impl Fn(&Status) -> Error + Send + use<> {
        let address = self.address.clone();
        move |status| Error::Containerd {
            address: address.clone(),
            reason: format!("{what}: {} ({:?})", status.message(), status.code()),
        }
    }

    pub(super) async fn add_to_lease(&self, digest: &Digest) -> Result<(), Error> {
        let Some(id) = self.headers.lease.as_ref().and_then(|id| id.to_str().ok()) else {
            return Ok(());
        };
        let request = AddResourceRequest {
            id: id.to_owned(),
            resource: Some(Resource {
                id: digest.to_string(),
                r#type: "content".to_owned(),
            }),
        };
        let answer = self.leases().add_resource(request).await;
        answer.map_err(|status| self.failed("lease", &status))?;
        Ok(())
    }

    pub(super) fn content(&self) -> ContentClient<Authored> {
        ContentClient::with_interceptor(self.channel.clone(), self.headers.clone())
            .max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn images(&self) -> ImagesClient<Authored> {
        ImagesClient::with_interceptor(self.channel.clone(), self.headers.clone())
            .max_decoding_message_size(MAX_MESSAGE)
    }

    pub(super) fn leases(&self) -> LeasesClient<Authored> {
        LeasesClient::with_interceptor(self.channel.clone(), self.headers.clone())
    }
}

/// Sizes on the wire are signed.
pub(super) fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

pub(super) fn mask(paths: impl IntoIterator<Item = String>) -> proto::FieldMask {
    proto::FieldMask {
        paths: paths.into_iter().collect(),
    }
}

/// For builds that shall be the same whenever they run.
pub(super) fn source_date_epoch() -> Option<proto::Timestamp> {
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok()?;
    Some(proto::Timestamp { seconds, nanos: 0 })
}
