//! A registry that misbehaves as told, and remembers what it was asked.

#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

pub(crate) mod accepting;
pub(crate) mod pushing;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use oci_spec::image::Digest;
use registry::{Credential, Credentials, Error, Mirror, Options, Registry, Repository, Secret};
use sha2::Digest as _;

/// One request, as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// How many requests this server got before.
    pub(crate) nth: usize,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) authorization: Option<String>,
    pub(crate) range: Option<String>,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: String,
}

impl Seen {
    pub(crate) fn is(&self, authorization: &str) -> bool {
        self.authorization.as_deref() == Some(authorization)
    }
}

/// Put into the extensions of an answer that is to wait for its moment.
#[derive(Clone)]
pub(crate) struct After(pub(crate) Arc<tokio::sync::Notify>);

pub(crate) struct Server {
    pub(crate) host: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// `None` never answers.
    pub(crate) async fn start(
        answer: impl Fn(&Seen) -> Option<Response> + Send + Sync + 'static,
    ) -> Server {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (answer, log) = (Arc::new(answer), seen.clone());
        let app = Router::new().fallback(move |request: Request| {
            let (answer, log) = (answer.clone(), log.clone());
            async move {
                let (parts, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 16).await.unwrap();
                let header = |name| {
                    parts
                        .headers
                        .get(name)
                        .map(|value| value.to_str().unwrap().to_owned())
                };
                let seen = {
                    let mut log = log.lock().unwrap();
                    let seen = Seen {
                        nth: log.len(),
                        method: parts.method.to_string(),
                        path: parts.uri.path().to_owned(),
                        query: parts.uri.query().unwrap_or_default().to_owned(),
                        authorization: header(http::header::AUTHORIZATION),
                        range: header(http::header::RANGE),
                        headers: parts.headers.clone(),
                        body: String::from_utf8(body.to_vec()).unwrap(),
                    };
                    log.push(seen.clone());
                    seen
                };
                match answer(&seen) {
                    Some(response) => {
                        let moment = response.extensions().get::<After>().cloned();
                        if let Some(After(moment)) = moment {
                            moment.notified().await;
                        }
                        response
                    }
                    None => std::future::pending().await,
                }
            }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Server { host, seen }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.host)
    }
}

/// A host on which nothing listens.
pub(crate) async fn dead_host() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string()
}

pub(crate) fn content(length: usize) -> Bytes {
    (0..length)
        .map(|i| u8::try_from(i * 31 % 251).unwrap())
        .collect()
}

pub(crate) fn digest(bytes: &[u8]) -> Digest {
    let hex: String = sha2::Sha256::digest(bytes)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    format!("sha256:{hex}").parse().unwrap()
}

pub(crate) fn answer(
    status: u16,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Option<Response> {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Some(response.body(body.into()).unwrap())
}

pub(crate) fn redirect(to: &str) -> Option<Response> {
    answer(307, &[("location", to)], "")
}

/// What a well-behaved host says to a blob request.
pub(crate) fn serve(seen: &Seen, data: &Bytes) -> Option<Response> {
    let Some(range) = &seen.range else {
        return answer(200, &[], data.clone());
    };
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap()
        .split_once('-')
        .unwrap();
    let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
    let content_range = format!("bytes {first}-{last}/{}", data.len());
    answer(
        206,
        &[("content-range", &content_range)],
        data.slice(first..=last),
    )
}

/// A body without a length, in these pieces; an empty piece breaks the connection.
pub(crate) fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(futures_util::stream::unfold(
        pieces.into_iter(),
        |mut pieces| async {
            let piece = pieces.next()?;
            if piece.is_empty() {
                // Let what was sent before arrive first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                return Some((Err(std::io::Error::other("cut")), pieces));
            }
            Some((Ok(piece), pieces))
        },
    ))
}

pub(crate) fn challenge(realm: &str) -> Option<Response> {
    let value = format!(r#"Bearer realm="{realm}",service="svc",scope="repository:a/b:pull""#);
    answer(401, &[("www-authenticate", &value)], "")
}

/// Short waits; as few repetitions as the tests need.
pub(crate) fn options() -> Options {
    Options {
        header_timeout: Duration::from_millis(300),
        connect_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(300),
        min_wait: Duration::from_millis(1),
        max_wait: Duration::from_millis(5),
        max_retries: 2,
        ..Options::default()
    }
}

pub(crate) fn mirrored(origin: &str, mirrors: &[&str]) -> Options {
    let mirror = |host: &&str| Mirror {
        host: (*host).to_owned(),
        ..Mirror::default()
    };
    let mirrors = mirrors.iter().map(mirror).collect();
    Options {
        hosts: BTreeMap::from([(origin.to_owned(), mirrors)]),
        ..options()
    }
}

pub(crate) fn registry(options: Options, credential: Option<Credential>) -> Registry {
    Registry::new(options, Arc::new(Fixed(credential))).unwrap()
}

/// Repository `a/b` of `host`.
pub(crate) fn repository(registry: &Registry, host: &str) -> Repository {
    registry.repository(&format!("{host}/a/b:latest").parse().unwrap())
}

/// The same credential for each host.
pub(crate) struct Fixed(pub(crate) Option<Credential>);

impl Credentials for Fixed {
    fn get<'a>(&'a self, _host: &'a str) -> BoxFuture<'a, Result<Option<Credential>, Error>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

pub(crate) fn password() -> Option<Credential> {
    let secret = Secret::new("hunter2-canary");
    Some(Credential::Password {
        username: "user".to_owned(),
        secret,
    })
}

/// `user:hunter2-canary`.
pub(crate) const BASIC: &str = "Basic dXNlcjpodW50ZXIyLWNhbmFyeQ==";
