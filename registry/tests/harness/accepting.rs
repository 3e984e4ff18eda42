//! A registry in memory that takes pushes, and fails as told.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use registry::BlobBody;

use super::{Seen, answer, digest};

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[derive(Default)]
pub(crate) struct Faults {
    /// The next bodies of uploads break off after so many bytes.
    pub(crate) cuts: VecDeque<usize>,
    /// The next requests of a method get a status.
    pub(crate) refusals: VecDeque<(&'static str, u16)>,
    /// The next upload is stored, and the answer is that of a proxy.
    pub(crate) loses_answer: bool,
    /// An upload that broke off is lost.
    pub(crate) forgets: bool,
    /// A broken upload keeps other bytes than were sent.
    pub(crate) garbles: bool,
    pub(crate) without_patch: bool,
    pub(crate) relative: bool,
    /// Uploads go to this host.
    pub(crate) upload_host: Option<String>,
    pub(crate) mounts: Mount,
    pub(crate) auth: Option<Auth>,
    pub(crate) has_referrers_api: bool,
    /// Lists that other writers put in the place of what was just written to a referrers tag.
    pub(crate) racers: VecDeque<Bytes>,
}

#[derive(Default, PartialEq)]
pub(crate) enum Mount {
    #[default]
    Taken,
    Upload,
    Refused,
}

/// Tokens name their scopes; what is granted may be less than what was asked for.
pub(crate) struct Auth {
    pub(crate) grant: fn(&str) -> bool,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) faults: Faults,
    /// By repository and digest.
    pub(crate) blobs: BTreeMap<(String, String), Bytes>,
    /// By repository and name.
    pub(crate) manifests: BTreeMap<(String, String), (String, Bytes)>,
    uploads: BTreeMap<String, Vec<u8>>,
    /// Body bytes of each request, in order; a body that broke off counts as far as it came.
    pub(crate) received: Vec<usize>,
    pub(crate) seen: Vec<Seen>,
}

#[derive(Clone)]
pub(crate) struct Accepting {
    pub(crate) host: String,
    state: Arc<Mutex<State>>,
}

impl Accepting {
    pub(crate) async fn start(faults: Faults) -> Accepting {
        let state = State {
            faults,
            ..State::default()
        };
        Self::serve(Arc::new(Mutex::new(state))).await
    }

    /// The same registry on another port.
    pub(crate) async fn another_port(&self) -> Accepting {
        Self::serve(self.state.clone()).await
    }

    async fn serve(state: Arc<Mutex<State>>) -> Accepting {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shared = state.clone();
        let app = Router::new().fallback(move |request: Request| handle(shared.clone(), request));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Accepting { host, state }
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// `METHOD kind`, such as `POST uploads`.
    pub(crate) fn requests(&self) -> Vec<String> {
        let kind = |path: &str| {
            let kinds = ["uploads", "blobs", "manifests", "referrers", "token"];
            let kind = kinds.iter().find(|kind| path.contains(**kind));
            kind.map_or_else(|| path.to_owned(), |kind| (*kind).to_owned())
        };
        let line = |seen: &Seen| format!("{} {}", seen.method, kind(&seen.path));
        self.with(|state| state.seen.iter().map(line).collect())
    }

    pub(crate) fn blob(&self, bytes: &[u8]) -> Option<Bytes> {
        let key = ("a/b".to_owned(), digest(bytes).to_string());
        self.with(|state| state.blobs.get(&key).cloned())
    }
}

async fn handle(state: Arc<Mutex<State>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name| {
        parts
            .headers
            .get(name)
            .map(|v: &http::HeaderValue| v.to_str().unwrap().to_owned())
    };
    let (cut, nth) = {
        let mut state = state.lock().unwrap();
        let nth = state.seen.len();
        state.seen.push(Seen {
            nth,
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            authorization: header(http::header::AUTHORIZATION),
            range: header(http::header::CONTENT_RANGE),
            headers: parts.headers.clone(),
            body: String::new(),
        });
        state.received.push(0);
        let is_upload = parts.uri.path().contains("/uploads/")
            && header(http::header::CONTENT_LENGTH).is_some_and(|length| length != "0");
        (
            is_upload.then(|| state.faults.cuts.pop_front()).flatten(),
            nth,
        )
    };
    let mut received = Vec::new();
    let mut body = body.into_data_stream();
    while let Some(Ok(piece)) = body.next().await {
        received.extend_from_slice(&piece);
        if let Some(cut) = cut.filter(|cut| received.len() >= *cut) {
            received.truncate(cut);
            let mut state = state.lock().unwrap();
            state.received[nth] = received.len();
            state.broken_off(&parts.method, parts.uri.path(), &received);
            drop(state);
            // Ends the connection without an answer and without a message.
            std::panic::resume_unwind(Box::new("cut"));
        }
    }
    let mut state = state.lock().unwrap();
    state.received[nth] = received.len();
    let seen = state.seen[nth].clone();
    state.answer(&seen, Bytes::from(received))
}

fn plain(status: u16, headers: &[(&str, &str)]) -> Response {
    answer(status, headers, Body::empty()).unwrap()
}

fn params(query: &str) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

impl State {
    fn broken_off(&mut self, method: &http::Method, path: &str, received: &[u8]) {
        let (_, id) = path.rsplit_once('/').unwrap();
        if self.faults.forgets || method != http::Method::PATCH {
            self.uploads.remove(id);
        } else if let Some(upload) = self.uploads.get_mut(id) {
            upload.extend_from_slice(received);
            if self.faults.garbles {
                upload[0] ^= 1;
            }
        }
    }

    fn answer(&mut self, seen: &Seen, body: Bytes) -> Response {
        let method = seen.method.as_str();
        let host = seen.headers["host"].to_str().unwrap().to_owned();
        if seen.path == "/token" {
            return self.token(&seen.query);
        }
        if let Some((refused, status)) = self.faults.refusals.front().copied()
            && refused == method
        {
            self.faults.refusals.pop_front();
            return plain(status, &[("retry-after", "0")]);
        }
        let path = seen.path.strip_prefix("/v2/").unwrap().to_owned();
        let is_elsewhere = self.faults.upload_host.as_ref() == Some(&host);
        if let Some(refusal) = self.challenge(seen, &path, &host).filter(|_| !is_elsewhere) {
            return refusal;
        }
        if let Some((repository, id)) = path.split_once("/blobs/uploads/") {
            return self.upload(seen, repository, id, &host, body);
        }
        if let Some((repository, name)) = path.split_once("/blobs/") {
            let key = (repository.to_owned(), name.to_owned());
            return match self.blobs.get(&key) {
                Some(blob) => answer(200, &[], blob.clone()).unwrap(),
                None => plain(404, &[]),
            };
        }
        if let Some((repository, subject)) = path.split_once("/referrers/") {
            return self.referrers(repository, subject);
        }
        let (repository, name) = path.split_once("/manifests/").unwrap();
        let key = (repository.to_owned(), name.to_owned());
        if method != "PUT" {
            return match self.manifests.get(&key) {
                Some((media_type, manifest)) => {
                    let digest = digest(manifest).to_string();
                    let headers = [
                        ("content-type", media_type.as_str()),
                        ("docker-content-digest", &digest),
                    ];
                    answer(200, &headers, manifest.clone()).unwrap()
                }
                None => plain(404, &[]),
            };
        }
        self.put_manifest(&seen.headers, key, body)
    }

    fn put_manifest(
        &mut self,
        headers: &HeaderMap,
        key: (String, String),
        body: Bytes,
    ) -> Response {
        let media_type = headers["content-type"].to_str().unwrap().to_owned();
        let digest = digest(&body).to_string();
        let parsed: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let subject = parsed["subject"]["digest"].as_str().map(str::to_owned);
        self.manifests.insert(
            (key.0.clone(), digest.clone()),
            (media_type.clone(), body.clone()),
        );
        let is_list = key.1.starts_with("sha256-");
        self.manifests.insert(key.clone(), (media_type, body));
        if is_list && let Some(theirs) = self.faults.racers.pop_front() {
            self.manifests.insert(key, (INDEX.to_owned(), theirs));
        }
        let mut headers = vec![("docker-content-digest", digest.as_str())];
        if let Some(subject) = subject.as_deref().filter(|_| self.faults.has_referrers_api) {
            headers.push(("oci-subject", subject));
        }
        plain(201, &headers)
    }

    fn referrers(&self, repository: &str, subject: &str) -> Response {
        if !self.faults.has_referrers_api {
            return plain(404, &[]);
        }
        let mut found = BTreeMap::new();
        for ((_, _), (media_type, manifest)) in
            self.manifests.iter().filter(|(key, _)| key.0 == repository)
        {
            let parsed: serde_json::Value = serde_json::from_slice(manifest).unwrap();
            if parsed["subject"]["digest"] == subject {
                let digest = digest(manifest).to_string();
                let entry = serde_json::json!({"mediaType": media_type, "digest": digest, "size": manifest.len(),
                    "artifactType": parsed["config"]["mediaType"]});
                found.insert(digest, entry);
            }
        }
        let found: Vec<_> = found.into_values().collect();
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": found});
        answer(200, &[("content-type", INDEX)], index.to_string()).unwrap()
    }

    fn upload(
        &mut self,
        seen: &Seen,
        repository: &str,
        id: &str,
        host: &str,
        body: Bytes,
    ) -> Response {
        let query = params(&seen.query);
        if seen.method == "POST" {
            if let (Some(mount), Some(from)) = (query.get("mount"), query.get("from")) {
                let source = self.blobs.get(&(from.clone(), mount.clone())).cloned();
                match (&self.faults.mounts, source) {
                    (Mount::Taken, Some(blob)) => {
                        self.blobs
                            .insert((repository.to_owned(), mount.clone()), blob);
                        return plain(201, &[]);
                    }
                    (Mount::Refused, _) => return plain(405, &[]),
                    _ => {}
                }
            }
            let id = format!("u{}", seen.nth);
            self.uploads.insert(id.clone(), Vec::new());
            return self.location(202, repository, &id, host, &[]);
        }
        let known = self.uploads.get(id).map(Vec::len);
        let Some(length) = known.filter(|_| query.get("state").map(String::as_str) == Some("s&="))
        else {
            return plain(404, &[]);
        };
        match seen.method.as_str() {
            "GET" => {
                let range = format!("0-{}", length.saturating_sub(1));
                self.location(204, repository, id, host, &[("range", &range)])
            }
            "PATCH" if self.faults.without_patch => plain(405, &[]),
            "PATCH" => {
                let first = seen.range.as_deref().map_or(0, |range| {
                    range.split_once('-').unwrap().0.parse::<usize>().unwrap()
                });
                if first != length {
                    return plain(416, &[]);
                }
                self.uploads.get_mut(id).unwrap().extend_from_slice(&body);
                self.location(202, repository, id, host, &[])
            }
            "PUT" => {
                let mut content = self.uploads.remove(id).unwrap();
                content.extend_from_slice(&body);
                let digest = digest(&content).to_string();
                if query.get("digest") != Some(&digest) {
                    let body = r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#;
                    return answer(400, &[], body).unwrap();
                }
                self.blobs
                    .insert((repository.to_owned(), digest), content.into());
                if std::mem::take(&mut self.faults.loses_answer) {
                    return plain(502, &[]);
                }
                plain(201, &[])
            }
            _ => plain(405, &[]),
        }
    }

    fn location(
        &self,
        status: u16,
        repository: &str,
        id: &str,
        host: &str,
        more: &[(&str, &str)],
    ) -> Response {
        let path = format!("/v2/{repository}/blobs/uploads/{id}?state=s%26%3D");
        let host = self.faults.upload_host.as_deref().unwrap_or(host);
        let location = match self.faults.relative {
            true => path,
            false => format!("http://{host}{path}"),
        };
        plain(status, &[more, &[("location", location.as_str())]].concat())
    }

    fn token(&self, query: &str) -> Response {
        let grant = self.faults.auth.as_ref().unwrap().grant;
        let scopes: Vec<_> = url::form_urlencoded::parse(query.as_bytes())
            .filter(|(name, scope)| name == "scope" && grant(scope))
            .map(|(_, scope)| scope.into_owned())
            .collect();
        let body = serde_json::json!({"token": scopes.join(";"), "expires_in": 300});
        answer(200, &[], body.to_string()).unwrap()
    }

    fn challenge(&self, seen: &Seen, path: &str, host: &str) -> Option<Response> {
        self.faults.auth.as_ref()?;
        let repository = ["/blobs/", "/manifests/", "/referrers/"]
            .iter()
            .find_map(|kind| path.split_once(kind))?
            .0;
        let needed = match seen.method.as_str() {
            "GET" | "HEAD" => "pull",
            _ => "push",
        };
        let allows = |scope: &str| {
            let (resource, actions) = scope.rsplit_once(':').unwrap();
            resource == format!("repository:{repository}")
                && actions.split(',').any(|action| action == needed)
        };
        let token = seen
            .authorization
            .as_deref()
            .and_then(|value| value.strip_prefix("Bearer "));
        if token.is_some_and(|token| {
            token
                .split(';')
                .any(|scope| !scope.is_empty() && allows(scope))
        }) {
            return None;
        }
        let scope = match needed {
            "pull" => format!("repository:{repository}:pull"),
            _ => format!("repository:{repository}:pull,push"),
        };
        let value = format!(r#"Bearer realm="http://{host}/token",service="svc",scope="{scope}""#);
        Some(plain(401, &[("www-authenticate", &value)]))
    }
}

/// Gives these bytes in pieces, from any offset, as often as asked.
pub(crate) fn body(bytes: &Bytes) -> impl Fn(u64) -> BlobBody + Send + Sync + use<> {
    let bytes = bytes.clone();
    move |offset| {
        let rest = bytes.slice(usize::try_from(offset).unwrap()..);
        let pieces: Vec<_> = rest
            .chunks(100_000)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        futures_util::stream::iter(pieces).boxed()
    }
}
