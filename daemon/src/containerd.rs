//! What the containerd of this machine holds or is downloading: often just what the registry would be asked for next.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use oci_spec::image::Digest;
use proto::content::v1::content_client::ContentClient;
use proto::content::v1::{ListStatusesRequest, ReadContentRequest};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::content;

/// It is on this machine; and it waits for us while it is asked.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A download that stands still for so long is not waited for; and one of which nothing has come yet, which may stand
/// behind others, for so long.
const STANDSTILL: Duration = Duration::from_millis(500);
const FIRST_BYTE: Duration = Duration::from_millis(100);
/// Between two looks at a download.
const LOOK: Duration = Duration::from_millis(3);
/// containerd sends up to this much at once.
const MAX_MESSAGE: usize = 16 << 20;

#[derive(Clone)]
pub struct Containerd {
    client: ContentClient<Channel>,
}

impl Containerd {
    /// Connects when it is asked, and again when containerd was restarted. `None` without an address.
    pub fn at(address: &str) -> Result<Option<Self>, tonic::transport::Error> {
        let path = address.strip_prefix("unix://").unwrap_or(address);
        if path.is_empty() {
            return Ok(None);
        }
        let endpoint = Endpoint::from_shared(format!("unix://{path}"))?
            .connect_timeout(TIMEOUT)
            .timeout(TIMEOUT);
        let client = ContentClient::new(endpoint.connect_lazy());
        let client = client.max_decoding_message_size(MAX_MESSAGE);
        Ok(Some(Self { client }))
    }

    /// A content of at most `limit` bytes that has its digest, waited for while containerd downloads it. `None` for
    /// whatever reason: there is always the registry.
    pub async fn content(&self, namespace: &str, digest: &Digest, limit: u64) -> Option<Bytes> {
        let namespace: MetadataValue<Ascii> = namespace.parse().ok()?;
        match self.wait_for(&namespace, digest, limit).await {
            Ok(bytes) => bytes,
            Err(status) => {
                tracing::debug!(%digest, code = ?status.code(), reason = status.message(), "containerd cannot be asked");
                None
            }
        }
    }

    async fn wait_for(
        &self,
        namespace: &MetadataValue<Ascii>,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Status> {
        let mut progress = Progress::begin();
        loop {
            let offset = self.downloaded(namespace, digest).await?;
            if let Some(bytes) = self.read(namespace, digest, limit).await? {
                return Ok(holds(digest, bytes).await);
            }
            if !progress.goes_on(offset, Instant::now()) {
                return Ok(None);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// How much of a content is here, if it is on its way.
    async fn downloaded(
        &self,
        namespace: &MetadataValue<Ascii>,
        digest: &Digest,
    ) -> Result<Option<i64>, Status> {
        let request = ListStatusesRequest {
            filters: vec![format!("ref~={}", digest.digest())],
        };
        let request = asked(request, namespace);
        let answer = self.client.clone().list_statuses(request).await?;
        let statuses = answer.into_inner().statuses;
        Ok(statuses.into_iter().map(|status| status.offset).max())
    }

    async fn read(
        &self,
        namespace: &MetadataValue<Ascii>,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Bytes>, Status> {
        let request = ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let absent = |status: Status| match status.code() {
            Code::NotFound => Ok(None),
            _ => Err(status),
        };
        let mut parts = match self.client.clone().read(asked(request, namespace)).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return absent(status),
        };
        let mut bytes = BytesMut::new();
        loop {
            match parts.message().await {
                Ok(Some(part)) => bytes.extend_from_slice(&part.data),
                Ok(None) => return Ok(Some(bytes.freeze())),
                Err(status) => return absent(status),
            }
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
                let reason = format!("{digest} has more than {limit} bytes");
                return Err(Status::out_of_range(reason));
            }
        }
    }
}

fn asked<T>(message: T, namespace: &MetadataValue<Ascii>) -> Request<T> {
    let mut request = Request::new(message);
    let metadata = request.metadata_mut();
    metadata.insert("containerd-namespace", namespace.clone());
    request
}

/// Hashing is not for the runtime's threads.
async fn holds(digest: &Digest, bytes: Bytes) -> Option<Bytes> {
    let (expected, hashed) = (digest.clone(), bytes.clone());
    let holds = tokio::task::spawn_blocking(move || content::matches(&expected, &hashed));
    match holds.await {
        Ok(true) => Some(bytes),
        Ok(false) => {
            tracing::warn!(%digest, "containerd holds other bytes under this digest; they are not used");
            None
        }
        Err(_) => None,
    }
}

/// Of a download. While containerd commits it, it is neither on its way nor there: one that was seen is looked for
/// until it stands still, and one that was not is looked for twice.
struct Progress {
    looks: u32,
    offset: Option<i64>,
    since: Instant,
}

impl Progress {
    fn begin() -> Self {
        Self {
            looks: 0,
            offset: None,
            since: Instant::now(),
        }
    }

    fn goes_on(&mut self, offset: Option<i64>, now: Instant) -> bool {
        self.looks = self.looks.saturating_add(1);
        if offset.is_some() && offset != self.offset {
            self.offset = offset;
            self.since = now;
        }
        let patience = match self.offset {
            Some(0) => FIRST_BYTE,
            Some(_) => STANDSTILL,
            None => return self.looks < 2,
        };
        now.duration_since(self.since) < patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_download_is_waited_for_as_long_as_it_goes_on() {
        let (mut progress, begin) = (Progress::begin(), Instant::now());
        let mut check = |offset, millis, expected| {
            let now = begin + Duration::from_millis(millis);
            let goes_on = progress.goes_on(offset, now);
            assert_eq!(goes_on, expected, "{offset:?} {millis}");
        };
        check(None, 0, true);
        check(Some(0), 0, true);
        check(Some(0), 90, true);
        check(Some(1), 95, true);
        // Being committed.
        check(None, 590, true);
        check(None, 595, false);
    }

    #[test]
    fn a_download_that_does_not_begin_is_not_waited_for_long() {
        let (mut progress, begin) = (Progress::begin(), Instant::now());
        assert!(progress.goes_on(Some(0), begin));
        assert!(!progress.goes_on(Some(0), begin + FIRST_BYTE));
    }

    #[test]
    fn what_nobody_downloads_is_looked_for_twice() {
        let mut progress = Progress::begin();
        assert!(progress.goes_on(None, Instant::now()));
        assert!(!progress.goes_on(None, Instant::now()));
    }

    #[tokio::test]
    async fn without_a_containerd_there_is_nothing_and_no_wait() {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        assert!(Containerd::at("").unwrap().is_none());
        let gone = Containerd::at("unix:///nonexistent/containerd.sock");
        let gone = gone.unwrap().unwrap();
        assert!(gone.content("default", &digest, 10).await.is_none());
    }
}
