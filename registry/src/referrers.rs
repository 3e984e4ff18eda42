//! What refers to a manifest: the referrers API, or the tag that stands in for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{ACCEPT, LINK};
use http::{HeaderMap, HeaderValue};
use oci_spec::image::{Descriptor, Digest, ImageIndex};
use url::Url;

use crate::Error;
use crate::capabilities::Capabilities;
use crate::client::Client;
use crate::content::{ACCEPTED, MANIFEST_LIMIT};
use crate::endpoint::Endpoint;
use crate::hosts::Hosts;
use crate::redirect::same_origin;
use crate::status::Failure;
use crate::transport::Reply;

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MAX_PAGES: usize = 16;

/// In the order of the host. Only descriptors with `artifact_type`.
pub(crate) async fn list(
    hosts: &Hosts,
    capabilities: &Capabilities,
    subject: &Digest,
    artifact_type: &str,
) -> Result<Vec<Descriptor>, Error> {
    let query = Query {
        client: &hosts.client,
        capabilities,
        subject,
        artifact_type,
    };
    let query = &query;
    // A mirror that knows of none may only lack the API: the registry is asked too. But if that is
    // out of reach, "none" is an answer and not worth waiting for another.
    let is_absent = &AtomicBool::new(false);
    hosts
        .each(|endpoint| async move {
            let found = query.endpoint(&endpoint).await;
            if hosts.is_origin(&endpoint) {
                return match found {
                    Err(error) if error.is_transient() && is_absent.load(Ordering::Relaxed) => {
                        Ok(Vec::new())
                    }
                    found => found,
                };
            }
            let found = found?;
            if found.is_empty() {
                is_absent.store(true, Ordering::Relaxed);
                return Err(Error::NotFound {
                    target: format!("referrers of {subject}"),
                });
            }
            Ok(found)
        })
        .await
}

/// What the referrers API of this endpoint lists; `None` where there is no such API.
pub(crate) async fn by_api(
    client: &Client,
    capabilities: &Capabilities,
    endpoint: &Arc<Endpoint>,
    subject: &Digest,
    artifact_type: &str,
) -> Result<Option<Vec<Descriptor>>, Error> {
    if capabilities.lacks_referrers(endpoint) {
        return Ok(None);
    }
    let query = Query {
        client,
        capabilities,
        subject,
        artifact_type,
    };
    query.api(endpoint).await
}

/// The tag that stands in for the API.
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm(), subject.digest())
}

struct Query<'a> {
    client: &'a Client,
    capabilities: &'a Capabilities,
    subject: &'a Digest,
    artifact_type: &'a str,
}

impl Query<'_> {
    async fn endpoint(&self, endpoint: &Arc<Endpoint>) -> Result<Vec<Descriptor>, Error> {
        if !self.capabilities.lacks_referrers(endpoint)
            && let Some(found) = self.api(endpoint).await?
        {
            return Ok(found);
        }
        self.tag(endpoint).await
    }

    /// `None` where the host has no such API.
    async fn api(&self, endpoint: &Arc<Endpoint>) -> Result<Option<Vec<Descriptor>>, Error> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(INDEX))]);
        let mut url = endpoint.referrers(self.subject, self.artifact_type);
        let mut found = Vec::new();
        for page in 0..MAX_PAGES {
            let reply = match self.client.get(endpoint, &url, &headers).await {
                // A login page instead of an answer also comes with 200.
                Ok(reply) if reply.content_type().as_deref() == Some(INDEX) => reply,
                Ok(_) if page == 0 => {
                    self.capabilities.note_no_referrers(endpoint);
                    return Ok(None);
                }
                Ok(reply) => return Err(malformed(&reply, "a page is not an image index")),
                Err(failure) if page == 0 && is_missing(&failure) => {
                    // Of a repository that does not exist yet, nothing is to be learnt.
                    if failure.code.as_deref() != Some("NAME_UNKNOWN") {
                        self.capabilities.note_no_referrers(endpoint);
                    }
                    return Ok(None);
                }
                Err(failure) => return Err(failure.into()),
            };
            let next = next_page(&reply, endpoint, &url)?;
            found.extend(self.matching(reply).await?);
            match next {
                Some(next) => url = next,
                None => return Ok(Some(found)),
            }
        }
        Err(Error::Malformed {
            target: crate::error::shown(&url),
            reason: format!("referrers on more than {MAX_PAGES} pages"),
        })
    }

    /// The index tagged `<algorithm>-<hex>` that clients maintain where the API is missing.
    async fn tag(&self, endpoint: &Arc<Endpoint>) -> Result<Vec<Descriptor>, Error> {
        let headers = HeaderMap::from_iter([(ACCEPT, ACCEPTED)]);
        let tag = fallback_tag(self.subject);
        let reply = match self
            .client
            .get(endpoint, &endpoint.manifest(&tag), &headers)
            .await
        {
            Ok(reply) => reply,
            Err(failure) if failure.error.is_not_found() => return Ok(Vec::new()),
            Err(failure) => return Err(failure.into()),
        };
        if reply.content_type().as_deref() != Some(INDEX) {
            return Err(malformed(&reply, "the referrers tag is not an image index"));
        }
        self.matching(reply).await
    }

    /// Filters whatever `OCI-Filters-Applied` says: a filtered list loses nothing by it.
    async fn matching(&self, reply: Reply) -> Result<Vec<Descriptor>, Error> {
        let target = reply.target().to_owned();
        let body = reply.read(MANIFEST_LIMIT).await?;
        let index: ImageIndex =
            serde_json::from_slice(&body).map_err(|error| Error::Malformed {
                target,
                reason: format!("not an image index: {error}"),
            })?;
        let is_wanted = |descriptor: &Descriptor| {
            let artifact_type = descriptor.artifact_type().as_ref();
            artifact_type.is_some_and(|found| found.to_string() == self.artifact_type)
        };
        Ok(index
            .manifests()
            .iter()
            .filter(|&found| is_wanted(found))
            .cloned()
            .collect())
    }
}

/// The ways hosts say that they do not know the API; redirects to nowhere useful are one.
fn is_missing(failure: &Failure) -> bool {
    match failure.error {
        Error::NotFound { .. } | Error::Redirect { .. } => true,
        Error::Status { status, .. } => matches!(status, 400 | 405 | 406 | 410 | 501),
        _ => false,
    }
}

/// The target of `Link: <…>; rel="next"`. It carries our authorization, so it stays on the host.
fn next_page(reply: &Reply, endpoint: &Endpoint, page: &Url) -> Result<Option<Url>, Error> {
    let links = reply
        .headers
        .get_all(LINK)
        .iter()
        .filter_map(|link| link.to_str().ok());
    let Some(link) = links.flat_map(|links| links.split(",")).find_map(next_link) else {
        return Ok(None);
    };
    let url = page
        .join(link)
        .map_err(|_| malformed(reply, "its next page is not a URL"))?;
    if !same_origin(&url, &endpoint.base) {
        return Err(malformed(reply, "its next page is on another host"));
    }
    Ok(Some(url))
}

fn next_link(link: &str) -> Option<&str> {
    let (url, params) = link.trim().strip_prefix('<')?.split_once('>')?;
    let is_next = params.split(';').any(|param| {
        param.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("rel")
                && value.trim().trim_matches('"').eq_ignore_ascii_case("next")
        })
    });
    is_next.then_some(url)
}

fn malformed(reply: &Reply, reason: &str) -> Error {
    Error::Malformed {
        target: reply.target().to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: &str, expected: Option<&str>) {
        assert_eq!(next_link(link), expected, "{link}");
    }

    #[test]
    fn only_the_next_page_is_followed() {
        check(r#"</v2/a?n=1>; rel="next""#, Some("/v2/a?n=1"));
        check(" <x>;rel=next ", Some("x"));
        check(r#"<x>; title="y"; REL="Next""#, Some("x"));
        check(r#"<x>; rel="prev""#, None);
        check("<x>", None);
        check("x; rel=next", None);
        check("<x; rel=next", None);
        check("", None);
    }
}
