//! A registry in memory that counts what is uploaded, and can lack the referrers API or lie.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::image::{Layout, digest};

#[derive(Default)]
struct Store {
    blobs: HashMap<(String, String), Bytes>,
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    uploads: HashMap<String, Vec<u8>>,
    /// Manifests and blobs sent to us.
    sent: Vec<String>,
    mounted: usize,
    with_referrers: bool,
    /// Served in place of the blob with this digest.
    lies: HashMap<String, Bytes>,
}

type Shared = Arc<Mutex<Store>>;

pub(crate) struct Registry {
    pub(crate) host: String,
    store: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl Registry {
    #[allow(clippy::disallowed_methods)] // a test has one of its own
    pub(crate) fn start(with_referrers: bool) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let store = Shared::default();
        store.lock().unwrap().with_referrers = with_referrers;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let router = Router::new()
            .fallback(answer)
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(store.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        Registry {
            host,
            store,
            _runtime: runtime,
        }
    }

    /// Fills a repository from a layout: its index under a tag.
    pub(crate) fn load(&self, layout: &Layout<'_>, repository: &str, tag: &str) {
        let mut store = self.store.lock().unwrap();
        for entry in std::fs::read_dir(layout.0.join("blobs/sha256")).unwrap() {
            let bytes = Bytes::from(std::fs::read(entry.unwrap().path()).unwrap());
            let key = (repository.to_owned(), digest(&bytes));
            if let Ok(json) = serde_json::from_slice::<Value>(&bytes)
                && let Some(kind) = json["mediaType"].as_str()
            {
                store.manifests.insert(key, (kind.to_owned(), bytes));
            } else {
                store.blobs.insert(key, bytes);
            }
        }
        let index = Bytes::from(std::fs::read(layout.0.join("index.json")).unwrap());
        let kind = "application/vnd.oci.image.index.v1+json".to_owned();
        for name in [tag.to_owned(), digest(&index)] {
            let key = (repository.to_owned(), name);
            store.manifests.insert(key, (kind.clone(), index.clone()));
        }
    }

    pub(crate) fn serve_instead(&self, digest: &str, bytes: Vec<u8>) {
        let mut store = self.store.lock().unwrap();
        store.lies.insert(digest.to_owned(), bytes.into());
    }

    /// What was uploaded since the last question.
    pub(crate) fn sent(&self) -> Vec<String> {
        std::mem::take(&mut self.store.lock().unwrap().sent)
    }

    pub(crate) fn mounted(&self) -> usize {
        self.store.lock().unwrap().mounted
    }

    pub(crate) fn manifest(&self, repository: &str, name: &str) -> Option<Value> {
        let store = self.store.lock().unwrap();
        let key = (repository.to_owned(), name.to_owned());
        let (_, bytes) = store.manifests.get(&key)?;
        serde_json::from_slice(bytes).ok()
    }

    pub(crate) fn blobs(&self, repository: &str) -> usize {
        let store = self.store.lock().unwrap();
        store
            .blobs
            .keys()
            .filter(|(name, _)| name == repository)
            .count()
    }
}

async fn answer(
    State(store): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut store = store.lock().unwrap();
    let path = uri.path().trim_start_matches("/v2/").to_owned();
    let query: HashMap<String, String> =
        url::form_urlencoded::parse(uri.query().unwrap_or("").as_bytes())
            .into_owned()
            .collect();
    let media_type = || {
        let kind = headers.get("content-type");
        kind.and_then(|kind| kind.to_str().ok())
            .unwrap_or_default()
            .to_owned()
    };
    if let Some((repository, name)) = path.split_once("/manifests/") {
        let key = (repository.to_owned(), name.to_owned());
        return match method {
            Method::PUT => store.put_manifest(key, media_type(), body),
            _ => match store.manifests.get(&key) {
                Some((kind, bytes)) => content(&method, kind, bytes),
                None => StatusCode::NOT_FOUND.into_response(),
            },
        };
    }
    if let Some((repository, subject)) = path.split_once("/referrers/") {
        return store.referrers(repository, subject);
    }
    if let Some((repository, session)) = path.split_once("/blobs/uploads/") {
        return store.upload(&method, repository, session, &query, &body);
    }
    if let Some((repository, digest)) = path.split_once("/blobs/") {
        let key = (repository.to_owned(), digest.to_owned());
        let lie = store.lies.get(digest);
        return match lie.or_else(|| store.blobs.get(&key)) {
            Some(bytes) => content(&method, "application/octet-stream", bytes),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    StatusCode::OK.into_response()
}

fn content(method: &Method, kind: &str, bytes: &Bytes) -> Response {
    let body = match *method {
        Method::HEAD => Body::empty(),
        _ => Body::from(bytes.clone()),
    };
    Response::builder()
        .header("content-type", kind)
        .header("content-length", bytes.len())
        .header("docker-content-digest", digest(bytes))
        .body(body)
        .unwrap()
}

impl Store {
    fn put_manifest(&mut self, key: (String, String), kind: String, body: Bytes) -> Response {
        let json: Value = serde_json::from_slice(&body).unwrap();
        for needed in json["layers"]
            .as_array()
            .into_iter()
            .flatten()
            .chain([&json["config"]])
        {
            let Some(needed) = needed["digest"].as_str() else {
                continue;
            };
            if !self.blobs.contains_key(&(key.0.clone(), needed.to_owned())) {
                return (StatusCode::BAD_REQUEST, format!("{needed} is missing")).into_response();
            }
        }
        for needed in json["manifests"].as_array().into_iter().flatten() {
            let needed = needed["digest"].as_str().unwrap().to_owned();
            if !self
                .manifests
                .contains_key(&(key.0.clone(), needed.clone()))
            {
                return (StatusCode::BAD_REQUEST, format!("{needed} is missing")).into_response();
            }
        }
        self.sent.push(key.1.clone());
        let digest = digest(&body);
        let mut answer = Response::builder()
            .status(StatusCode::CREATED)
            .header("docker-content-digest", &digest);
        if let Some(subject) = json["subject"]["digest"]
            .as_str()
            .filter(|_| self.with_referrers)
        {
            answer = answer.header("oci-subject", subject);
        }
        self.manifests
            .insert((key.0.clone(), digest), (kind.clone(), body.clone()));
        self.manifests.insert(key, (kind, body));
        answer.body(Body::empty()).unwrap()
    }

    fn referrers(&self, repository: &str, subject: &str) -> Response {
        if !self.with_referrers {
            return StatusCode::NOT_FOUND.into_response();
        }
        let mut list = Vec::new();
        for ((name, key), (kind, bytes)) in &self.manifests {
            let json: Value = serde_json::from_slice(bytes).unwrap();
            if name == repository
                && key.starts_with("sha256:")
                && json["subject"]["digest"] == subject
            {
                list.push(
                    json!({"mediaType": kind, "digest": key, "size": bytes.len(),
                    "artifactType": json["config"]["mediaType"]}),
                );
            }
        }
        let index = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": list});
        content(
            &Method::GET,
            "application/vnd.oci.image.index.v1+json",
            &index.to_string().into(),
        )
    }

    fn upload(
        &mut self,
        method: &Method,
        repository: &str,
        session: &str,
        query: &HashMap<String, String>,
        body: &Bytes,
    ) -> Response {
        if *method == Method::POST {
            if let (Some(digest), Some(from)) = (query.get("mount"), query.get("from"))
                && let Some(bytes) = self.blobs.get(&(from.clone(), digest.clone())).cloned()
            {
                self.blobs
                    .insert((repository.to_owned(), digest.clone()), bytes);
                self.mounted += 1;
                return StatusCode::CREATED.into_response();
            }
            let session = format!("{}", self.uploads.len());
            self.uploads.insert(session.clone(), Vec::new());
            return Response::builder()
                .status(StatusCode::ACCEPTED)
                .header(
                    "location",
                    format!("/v2/{repository}/blobs/uploads/{session}"),
                )
                .body(Body::empty())
                .unwrap();
        }
        let upload = self.uploads.get_mut(session).unwrap();
        upload.extend_from_slice(body);
        if *method == Method::PATCH {
            return Response::builder()
                .status(StatusCode::ACCEPTED)
                .header(
                    "location",
                    format!("/v2/{repository}/blobs/uploads/{session}"),
                )
                .header("range", format!("0-{}", upload.len().saturating_sub(1)))
                .body(Body::empty())
                .unwrap();
        }
        let bytes = Bytes::from(std::mem::take(upload));
        let wanted = query.get("digest").unwrap();
        if digest(&bytes) != *wanted {
            return StatusCode::BAD_REQUEST.into_response();
        }
        self.sent.push(wanted.clone());
        self.blobs
            .insert((repository.to_owned(), wanted.clone()), bytes);
        StatusCode::CREATED.into_response()
    }
}
