//! One request to a registry: who asks, for what, and what goes wrong with the answer.

use std::ops::Range;
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;

use super::body::{self, Part};
use super::{Auth, Credentials, Discovery, Faults, Kind, Port, Request};
use crate::layout::{self, Index, Layout};

/// What a path asks for.
struct Asked<'a> {
    kind: Kind,
    repository: &'a str,
    name: &'a str,
}

fn parse(path: &str) -> Asked<'_> {
    let other = Asked {
        kind: Kind::Other,
        repository: "",
        name: path,
    };
    if path == "/token" {
        return Asked {
            kind: Kind::Token,
            ..other
        };
    }
    let Some(rest) = path.strip_prefix("/v2/") else {
        return other;
    };
    if rest.is_empty() {
        return Asked {
            kind: Kind::Ping,
            ..other
        };
    }
    for (part, kind) in [
        ("/manifests/", Kind::Manifest),
        ("/blobs/", Kind::Blob),
        ("/referrers/", Kind::Referrers),
    ] {
        if let Some((repository, name)) = rest.split_once(part) {
            return Asked {
                kind,
                repository,
                name,
            };
        }
    }
    other
}

pub(super) async fn answer(port: &Port, http: &Parts) -> Response {
    let asked = parse(http.uri.path());
    let faults = port.shared.faults.lock().clone();
    let range = requested_range(&http.headers);
    let mut logged = Request {
        method: http.method.to_string(),
        kind: asked.kind,
        name: asked.name.to_owned(),
        range: range.clone(),
        status: 0,
        authorization: text(&http.headers, header::AUTHORIZATION),
        user_agent: text(&http.headers, header::USER_AGENT).unwrap_or_default(),
        at_store: port.is_store,
        sent: 0,
        came: port.shared.log.tick(),
        answered: u64::MAX,
    };
    tokio::time::sleep(faults.delay).await;
    if faults.black_hole && asked.kind == Kind::Blob {
        port.shared.log.add(logged);
        return std::future::pending().await;
    }
    let (response, part) = decide(port, http, &asked, &faults, range);
    logged.status = response.status().as_u16();
    logged.answered = port.shared.log.tick();
    let sent = port.shared.log.add(logged);
    let Some(part) = part else { return response };
    let (parts, _) = response.into_parts();
    match body::stream(Part { sent, ..part }) {
        Ok(body) => Response::from_parts(parts, body),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn decide(
    port: &Port,
    http: &Parts,
    asked: &Asked<'_>,
    faults: &Faults,
    range: Option<Range<u64>>,
) -> (Response, Option<Part>) {
    let shared = &port.shared;
    if take_unavailable(port) {
        return (plain(StatusCode::SERVICE_UNAVAILABLE, "busy"), None);
    }
    if asked.kind == Kind::Token {
        return (token(port, &http.headers, &faults.auth), None);
    }
    // Whoever follows a redirect has a signed link and must not need a credential.
    if !port.is_store && !allowed(port, &http.headers, &faults.auth) {
        return (challenge(port, &faults.auth, asked.repository), None);
    }
    if faults.missing.contains(asked.name) {
        return (
            plain(
                StatusCode::NOT_FOUND,
                r#"{"errors":[{"code":"NOT_FOUND"}]}"#,
            ),
            None,
        );
    }
    let layout = shared.repositories.lock().get(asked.repository).cloned();
    let head = http.method == axum::http::Method::HEAD;
    match (asked.kind, layout) {
        (Kind::Ping, _) => (plain(StatusCode::OK, "{}"), None),
        (Kind::Manifest, Some(layout)) => (manifest(&layout, asked.name, faults, head), None),
        (Kind::Referrers, Some(layout)) => (
            referrers(&layout, asked.name, http.uri.query(), faults),
            None,
        ),
        (Kind::Blob, Some(_)) if faults.redirect && !port.is_store => {
            let target = format!("http://{}{}", shared.store, http.uri.path());
            let response = Response::builder()
                .status(StatusCode::TEMPORARY_REDIRECT)
                .header(header::LOCATION, target + "?signature=secret");
            (build(response, Body::empty()), None)
        }
        (Kind::Blob, Some(layout)) => blob(&layout, asked.name, faults, range, head),
        _ => (
            plain(
                StatusCode::NOT_FOUND,
                r#"{"errors":[{"code":"NAME_UNKNOWN"}]}"#,
            ),
            None,
        ),
    }
}

fn take_unavailable(port: &Port) -> bool {
    let mut faults = port.shared.faults.lock();
    let busy = faults.unavailable > 0;
    faults.unavailable = faults.unavailable.saturating_sub(1);
    busy
}

fn manifest(layout: &Layout, name: &str, faults: &Faults, head: bool) -> Response {
    let digest = if name.contains(':') {
        name.to_owned()
    } else {
        let hidden = name.starts_with("sha256-") && faults.discovery == Discovery::Api;
        match layout.root(name) {
            Ok(root) if !hidden => root.digest,
            _ => {
                return plain(
                    StatusCode::NOT_FOUND,
                    r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
                );
            }
        }
    };
    let Ok(bytes) = layout.read(&digest) else {
        return plain(
            StatusCode::NOT_FOUND,
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#,
        );
    };
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let media_type = value
        .get("mediaType")
        .and_then(|m| m.as_str())
        .unwrap_or(layout::MANIFEST);
    let response = Response::builder()
        .header(header::CONTENT_TYPE, media_type)
        .header("docker-content-digest", digest)
        .header(header::CONTENT_LENGTH, bytes.len());
    build(response, if head { Body::empty() } else { bytes.into() })
}

fn referrers(layout: &Layout, digest: &str, query: Option<&str>, faults: &Faults) -> Response {
    if faults.discovery == Discovery::Tag {
        return plain(StatusCode::NOT_FOUND, "404 page not found");
    }
    let mut index = layout
        .root(&digest.replacen(':', "-", 1))
        .and_then(|root| layout.json::<Index>(&root.digest))
        .unwrap_or_else(|_| Index::of(Vec::new()));
    let wanted = query
        .and_then(|query| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix("artifactType="))
        })
        .map(|value| {
            value
                .replace("%2F", "/")
                .replace("%2f", "/")
                .replace("%2B", "+")
                .replace("%2b", "+")
        });
    let mut response = Response::builder().header(header::CONTENT_TYPE, layout::INDEX);
    if let Some(wanted) = wanted {
        index
            .manifests
            .retain(|found| found.artifact_type.as_ref() == Some(&wanted));
        response = response.header("OCI-Filters-Applied", "artifactType");
    }
    build(
        response,
        serde_json::to_vec(&index).unwrap_or_default().into(),
    )
}

fn blob(
    layout: &Layout,
    digest: &str,
    faults: &Faults,
    asked: Option<Range<u64>>,
    head: bool,
) -> (Response, Option<Part>) {
    let path = layout.path(digest);
    let Ok(size) = std::fs::metadata(&path).map(|meta| meta.len()) else {
        return (
            plain(
                StatusCode::NOT_FOUND,
                r#"{"errors":[{"code":"BLOB_UNKNOWN"}]}"#,
            ),
            None,
        );
    };
    let asked = asked.filter(|_| !faults.no_ranges);
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, "application/octet-stream")
        .header("docker-content-digest", digest);
    if !faults.no_ranges {
        response = response.header(header::ACCEPT_RANGES, "bytes");
    }
    let range = match asked {
        None => 0..size,
        Some(range) if range.start >= size => {
            response = response
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{size}"));
            return (build(response, Body::empty()), None);
        }
        Some(range) => {
            let shift = u64::from(faults.wrong_range && range.start > 0);
            let range = range.start - shift..range.end.min(size) - shift;
            response = response.status(StatusCode::PARTIAL_CONTENT).header(
                header::CONTENT_RANGE,
                format!("bytes {}-{}/{size}", range.start, range.end - 1),
            );
            range
        }
    };
    let response = build(
        response.header(header::CONTENT_LENGTH, range.end - range.start),
        Body::empty(),
    );
    if head {
        return (response, None);
    }
    let flip = faults
        .flip
        .as_ref()
        .filter(|(wrong, _)| wrong == digest)
        .map(|(_, at)| *at);
    let part = Part {
        path,
        range,
        rate: faults.rate,
        truncate: faults.truncate,
        flip,
        sent: std::sync::Arc::default(),
    };
    (response, Some(part))
}

fn allowed(port: &Port, headers: &HeaderMap, auth: &Auth) -> bool {
    let given = text(headers, header::AUTHORIZATION).unwrap_or_default();
    match auth {
        Auth::Open => true,
        Auth::Basic(credentials) => given == basic(credentials),
        Auth::Bearer(_, lifetime) => port.shared.tokens.lock().iter().any(|(token, issued)| {
            given == format!("Bearer {token}") && issued.elapsed() < *lifetime
        }),
    }
}

fn challenge(port: &Port, auth: &Auth, repository: &str) -> Response {
    let address = port.shared.address;
    let challenge = match auth {
        Auth::Bearer(..) => format!(
            r#"Bearer realm="http://{address}/token",service="{address}",scope="repository:{repository}:pull""#
        ),
        Auth::Basic(_) | Auth::Open => format!(r#"Basic realm="http://{address}/""#),
    };
    let response = Response::builder()
        .status(StatusCode::UNAUTHORIZED)
        .header(header::WWW_AUTHENTICATE, challenge);
    build(
        response,
        Body::from(r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#),
    )
}

fn token(port: &Port, headers: &HeaderMap, auth: &Auth) -> Response {
    let Auth::Bearer(credentials, lifetime) = auth else {
        return plain(StatusCode::NOT_FOUND, "no tokens here");
    };
    if text(headers, header::AUTHORIZATION).unwrap_or_default() != basic(credentials) {
        return plain(StatusCode::UNAUTHORIZED, "wrong password");
    }
    let mut tokens = port.shared.tokens.lock();
    let token = format!("token-{}-of-the-registry", tokens.len());
    tokens.push((token.clone(), Instant::now()));
    let body = serde_json::json!({ "token": token, "expires_in": lifetime.as_secs() });
    build(
        Response::builder().header(header::CONTENT_TYPE, "application/json"),
        Body::from(body.to_string()),
    )
}

fn basic(credentials: &Credentials) -> String {
    let plain = format!("{}:{}", credentials.username, credentials.password);
    format!(
        "Basic {}",
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, plain)
    )
}

/// `bytes=A-B` or `bytes=A-`; anything else is as good as no range.
fn requested_range(headers: &HeaderMap) -> Option<Range<u64>> {
    let value = text(headers, header::RANGE)?;
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let last: u64 = if last.is_empty() {
        u64::MAX - 1
    } else {
        last.parse().ok()?
    };
    (first <= last).then(|| first..last.saturating_add(1))
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn plain(status: StatusCode, body: &str) -> Response {
    build(
        Response::builder().status(status),
        Body::from(body.to_owned()),
    )
}

fn build(response: axum::http::response::Builder, body: Body) -> Response {
    response
        .body(body)
        .unwrap_or_else(|error| Response::new(Body::from(error.to_string())))
}
