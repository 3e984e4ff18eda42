//! Exchanges a credential for a bearer token at the realm a registry names.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::{Url, form_urlencoded};

use crate::counters::add;
use crate::endpoint::Endpoint;
use crate::error::shown;
use crate::payload::Payload;
use crate::redirect::{Ask, Errand, follow, route};
use crate::status::failure;
use crate::transport::{Request, Transport};
use crate::{Credential, Error, Secret};

const CLIENT_ID: &str = "soci-snapshotter";
const BODY_LIMIT: u64 = 256 << 10;
/// What the token specification says where the answer does not.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

pub(crate) struct Token {
    pub(crate) header: HeaderValue,
    pub(crate) lifetime: Duration,
}

pub(crate) struct Bearer<'a> {
    pub(crate) realm: &'a str,
    pub(crate) service: Option<&'a str>,
    pub(crate) scope: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

/// `Authorization: Basic`, for a registry or a token endpoint.
pub(crate) fn basic(username: &str, secret: &Secret) -> Result<HeaderValue, &'static str> {
    let encoded = STANDARD.encode(format!("{username}:{}", secret.reveal()));
    sensitive(&format!("Basic {encoded}"))
}

fn sensitive(value: &str) -> Result<HeaderValue, &'static str> {
    let mut header = HeaderValue::from_str(value).map_err(|_| "it does not fit into a header")?;
    header.set_sensitive(true);
    Ok(header)
}

pub(crate) async fn exchange(
    transport: &Transport,
    endpoint: &Endpoint,
    bearer: &Bearer<'_>,
    credential: Option<&Credential>,
) -> Result<Token, Error> {
    let realm = realm(endpoint, bearer.realm)?;
    let target = shown(&realm);
    add(&transport.counters().token_requests, 1);
    let reply = match credential {
        Some(Credential::IdentityToken(secret)) => {
            let form = refresh(bearer, secret);
            let request = request(realm, &form);
            transport
                .send(route(&endpoint.base, &request.url)?, request)
                .await?
        }
        Some(Credential::Password { username, secret }) => {
            let header = basic(username, secret).map_err(|reason| Error::Credentials {
                host: endpoint.host.clone(),
                reason: reason.to_owned(),
            })?;
            let authorization = Some((&realm, &header));
            let errand = Errand {
                home: &endpoint.base,
                authorization,
            };
            let url = query(&realm, bearer, Some(username));
            follow(transport, &errand, url, Ask::get(&HeaderMap::new())).await?
        }
        None => {
            let errand = Errand {
                home: &endpoint.base,
                authorization: None,
            };
            follow(
                transport,
                &errand,
                query(&realm, bearer, None),
                Ask::get(&HeaderMap::new()),
            )
            .await?
        }
    };
    match reply.status {
        StatusCode::OK => {}
        // Token endpoints say 400 to a refused refresh token (RFC 6749, 5.2) and 404 to a refused scope.
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND => {
            let reason = format!(
                "the token endpoint answered HTTP status {}",
                reply.status.as_u16()
            );
            return Err(Error::Denied { target, reason });
        }
        _ => return Err(failure(reply).await.error),
    }
    let body = reply.read(BODY_LIMIT).await?;
    parse(&body).map_err(|reason| Error::Challenge {
        target,
        reason: reason.to_owned(),
    })
}

/// Credentials travel at least as safely as to the registry itself.
fn realm(endpoint: &Endpoint, text: &str) -> Result<Url, Error> {
    let refused = |reason: &str| Error::Challenge {
        target: shown(&endpoint.base),
        reason: reason.to_owned(),
    };
    let realm = Url::parse(text).map_err(|_| refused("the realm is not a URL"))?;
    match realm.scheme() {
        "https" => {}
        "http" if endpoint.base.scheme() == "http" => {}
        _ => return Err(refused("the realm is not an https URL")),
    }
    if !realm.username().is_empty() || realm.password().is_some() {
        return Err(refused("the realm contains user information"));
    }
    route(&endpoint.base, &realm)?;
    Ok(realm)
}

fn query(realm: &Url, bearer: &Bearer<'_>, account: Option<&str>) -> Url {
    let mut url = realm.clone();
    let mut pairs = url.query_pairs_mut();
    if let Some(service) = bearer.service {
        pairs.append_pair("service", service);
    }
    for scope in bearer.scope.split_ascii_whitespace() {
        pairs.append_pair("scope", scope);
    }
    if let Some(account) = account {
        pairs.append_pair("account", account);
    }
    drop(pairs);
    url
}

fn refresh(bearer: &Bearer<'_>, secret: &Secret) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("refresh_token", secret.reveal());
    form.append_pair("client_id", CLIENT_ID);
    form.append_pair("scope", bearer.scope);
    if let Some(service) = bearer.service {
        form.append_pair("service", service);
    }
    form.finish()
}

fn request(realm: Url, form: &str) -> Request<'_> {
    let mut headers = HeaderMap::new();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    headers.insert(CONTENT_TYPE, form_type);
    Request {
        method: Method::POST,
        url: realm,
        headers,
        payload: Payload::Form(form),
    }
}

fn parse(body: &[u8]) -> Result<Token, &'static str> {
    // Not serde's message: it may quote the token.
    let answer: Answer =
        serde_json::from_slice(body).map_err(|_| "the token endpoint's answer is not JSON")?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    if token.is_empty() {
        return Err("the token endpoint's answer has no token");
    }
    let header = sensitive(&format!("Bearer {token}")).map_err(|_| "the token is malformed")?;
    let lifetime = answer.expires_in.filter(|&seconds| seconds > 0);
    Ok(Token {
        header,
        lifetime: lifetime.map_or(DEFAULT_LIFETIME, Duration::from_secs),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Option<(&str, u64)>) {
        let token = parse(body.as_bytes()).ok();
        let found = token
            .as_ref()
            .map(|t| (t.header.to_str().unwrap(), t.lifetime.as_secs()));
        assert_eq!(found, expected, "{body}");
    }

    #[test]
    fn token_answers_of_both_kinds_are_understood() {
        check(
            r#"{"token":"t","expires_in":300,"issued_at":"x"}"#,
            Some(("Bearer t", 300)),
        );
        check(r#"{"access_token":"a"}"#, Some(("Bearer a", 60)));
        check(
            r#"{"token":"t","access_token":"a","expires_in":0}"#,
            Some(("Bearer t", 60)),
        );
        check(r#"{"token":"a\nb"}"#, None);
        check(r#"{"token":""}"#, None);
        check("{}", None);
        check("<html>", None);
    }

    #[test]
    fn headers_do_not_print_their_secret() {
        let header = basic("user", &Secret::new("hunter2")).unwrap();
        assert_eq!(header.to_str().unwrap(), "Basic dXNlcjpodW50ZXIy");
        assert_eq!(format!("{header:?}"), "Sensitive");
    }
}
