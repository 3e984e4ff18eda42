//! Adds to the tag that lists referrers where a registry has no API for it, among other writers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use http::header::ACCEPT;
use oci_spec::image::{Descriptor, Digest};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::Error;
use crate::client::Client;
use crate::content::{ACCEPTED, MANIFEST_LIMIT};
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::manifest::put;
use crate::referrers::{INDEX, fallback_tag};

const ATTEMPTS: u32 = 8;
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(2);

/// A registry cannot write on condition, so the last of several writers wins. Each therefore looks
/// again, later than another's reading and writing take, and puts back what is missing.
pub(crate) async fn add(
    hosts: &Hosts,
    subject: &Digest,
    descriptor: &Descriptor,
) -> Result<bool, Error> {
    let tag = fallback_tag(subject);
    let entry = serde_json::to_value(descriptor).map_err(|error| Error::Malformed {
        target: descriptor.digest().to_string(),
        reason: format!("not a descriptor: {error}"),
    })?;
    let endpoint = hosts.origin()?.pushing(None);
    let list = List {
        client: &hosts.client,
        tag: &tag,
        wanted: Mutex::new(vec![entry]),
    };
    let list = &list;
    for attempt in 0..ATTEMPTS {
        let begun = Instant::now();
        let complete = |endpoint| async move { list.complete(&endpoint).await };
        if !hosts.at(endpoint.clone(), complete).await? {
            return Ok(attempt > 0);
        }
        tokio::time::sleep(look_again(begun.elapsed())).await;
    }
    Err(Error::Contended {
        target: format!("the tag {tag} of {}/{}", endpoint.host, endpoint.repository),
        attempts: ATTEMPTS,
    })
}

fn look_again(took: Duration) -> Duration {
    let pause = took.saturating_mul(4).clamp(SHORTEST_LOOK, LONGEST_LOOK);
    // Two that overwrote each other do not meet again.
    pause.saturating_add(pause.mul_f64(fastrand::f64()))
}

struct List<'a> {
    client: &'a Client,
    tag: &'a str,
    /// Our entry, and whatever else the list held when we read it.
    wanted: Mutex<Vec<Value>>,
}

impl List<'_> {
    /// Whether anything was missing.
    async fn complete(&self, endpoint: &Arc<Endpoint>) -> Result<bool, Error> {
        let mut index = self.read(endpoint).await?;
        let Some(entries) = index.get_mut("manifests").and_then(Value::as_array_mut) else {
            return Err(self.malformed(endpoint, "the list of referrers is not an image index"));
        };
        let missing = {
            let mut wanted = self.wanted.lock();
            let missing = difference(&wanted, entries);
            let new = difference(entries, &wanted);
            wanted.extend(new);
            missing
        };
        if missing.is_empty() {
            return Ok(false);
        }
        entries.extend(missing);
        let bytes = Bytes::from(index.to_string());
        if u64::try_from(bytes.len()).map_or(true, |length| length > MANIFEST_LIMIT) {
            return Err(Error::TooLarge {
                target: self.target(endpoint),
                limit: MANIFEST_LIMIT,
            });
        }
        put(self.client, endpoint, self.tag, INDEX, &bytes).await?;
        Ok(true)
    }

    async fn read(&self, endpoint: &Arc<Endpoint>) -> Result<Value, Error> {
        let headers = HeaderMap::from_iter([(ACCEPT, ACCEPTED)]);
        let url = endpoint.manifest(self.tag);
        let reply = match self.client.get(endpoint, &url, &headers).await {
            Ok(reply) => reply,
            Err(failure) if failure.error.is_not_found() => {
                return Ok(json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}));
            }
            Err(failure) => return Err(failure.into()),
        };
        // Somebody's image under this name is not ours to replace.
        if reply.content_type().as_deref() != Some(INDEX) {
            return Err(self.malformed(endpoint, "the referrers tag is not an image index"));
        }
        let body = reply.read(MANIFEST_LIMIT).await?;
        serde_json::from_slice(&body)
            .map_err(|_| self.malformed(endpoint, "the list of referrers is not JSON"))
    }

    fn malformed(&self, endpoint: &Endpoint, reason: &str) -> Error {
        Error::Malformed {
            target: self.target(endpoint),
            reason: reason.to_owned(),
        }
    }

    fn target(&self, endpoint: &Endpoint) -> String {
        crate::error::shown(&endpoint.manifest(self.tag))
    }
}

/// The entries of `these` that are not among `those`: a digest is listed once.
fn difference(these: &[Value], those: &[Value]) -> Vec<Value> {
    let is_missing = |entry: &&Value| {
        let digest = entry.get("digest");
        those.iter().all(|other| other.get("digest") != digest)
    };
    these.iter().filter(is_missing).cloned().collect()
}
