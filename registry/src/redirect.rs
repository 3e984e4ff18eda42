//! Follows redirects by our own rules: credentials stay at their origin, TLS is never given up, local services are out of reach.

use http::header::{AUTHORIZATION, LOCATION};
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::Error;
use crate::address::Zone;
use crate::clients::Route;
use crate::counters::add;
use crate::error::shown;
use crate::payload::Payload;
use crate::transport::{Reply, Request, Transport};

const MAX_HOPS: usize = 5;

/// The registry on whose behalf we ask, and what only one origin may see.
pub(crate) struct Errand<'a> {
    /// A URL of the registry; it bounds where redirects lead.
    pub(crate) home: &'a Url,
    /// Sent to URLs with the origin (scheme, host, port) of the first, and to no other.
    pub(crate) authorization: Option<(&'a Url, &'a HeaderValue)>,
}

pub(crate) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host() == b.host()
        && a.port_or_known_default() == b.port_or_known_default()
}

/// What to ask for, wherever it is.
#[derive(Clone, Copy)]
pub(crate) struct Ask<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) payload: Payload<'a>,
}

impl<'a> Ask<'a> {
    pub(crate) fn get(headers: &'a HeaderMap) -> Self {
        Ask {
            method: &Method::GET,
            headers,
            payload: Payload::Empty,
        }
    }
}

/// The answer's URL is the final one.
pub(crate) async fn follow(
    transport: &Transport,
    errand: &Errand<'_>,
    url: Url,
    ask: Ask<'_>,
) -> Result<Reply, Error> {
    let mut url = url;
    for _ in 0..=MAX_HOPS {
        let route = route(errand.home, &url)?;
        let mut headers = ask.headers.clone();
        if let Some((audience, value)) = errand.authorization
            && same_origin(audience, &url)
        {
            headers.insert(AUTHORIZATION, value.clone());
        }
        let request = Request {
            method: ask.method.clone(),
            url,
            headers,
            payload: ask.payload,
        };
        let reply = transport.send(route, request).await?;
        let Some(location) = location(&reply) else {
            return Ok(reply);
        };
        // The others turn a write into a read.
        if !is_read(ask.method) && !matches!(reply.status.as_u16(), 307 | 308) {
            let reason = format!(
                "HTTP status {} in answer to {}",
                reply.status.as_u16(),
                ask.method
            );
            return Err(refused(&reply.url, reason));
        }
        url = next(&reply.url, location)?;
        add(&transport.counters().redirects, 1);
    }
    Err(refused(&url, format!("more than {MAX_HOPS} hops")))
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn location(reply: &Reply) -> Option<&HeaderValue> {
    matches!(reply.status.as_u16(), 301 | 302 | 303 | 307 | 308)
        .then(|| reply.headers.get(LOCATION))
        .flatten()
}

/// The client that may contact `url` for the registry at `home`.
pub(crate) fn route(home: &Url, url: &Url) -> Result<Route, Error> {
    if home.host() == url.host() {
        return Ok(Route::Direct);
    }
    let reach = Zone::of_host(home);
    if !reach.may_reach(Zone::of_host(url)) {
        return Err(refused(
            url,
            "a registry must not refer to a local address".to_owned(),
        ));
    }
    Ok(Route::Within(reach))
}

/// Where `Location` leads from `from`.
pub(crate) fn next(from: &Url, location: &HeaderValue) -> Result<Url, Error> {
    let text = location
        .to_str()
        .map_err(|_| refused(from, "Location is not ASCII".to_owned()))?;
    let mut to = from
        .join(text)
        .map_err(|_| refused(from, "Location is not a URL".to_owned()))?;
    to.set_fragment(None);
    if !matches!(to.scheme(), "http" | "https") || to.host().is_none() {
        return Err(refused(from, "Location is not an HTTP URL".to_owned()));
    }
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(refused(&to, "from https to http".to_owned()));
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err(refused(
            &to,
            "Location contains user information".to_owned(),
        ));
    }
    Ok(to)
}

fn refused(url: &Url, reason: String) -> Error {
    Error::Redirect {
        target: shown(url),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(home: &str, location: &str, allowed: bool) {
        let home = Url::parse(home).unwrap();
        let to =
            next(&home, &HeaderValue::from_str(location).unwrap()).and_then(|to| route(&home, &to));
        assert_eq!(to.is_ok(), allowed, "{home} -> {location}");
    }

    #[test]
    fn redirects_do_not_leave_the_allowed_ground() {
        let home = "https://registry.example.com/v2/a/blobs/b";
        check(home, "https://cdn.example.net/x?sig=1", true);
        check(home, "/other/path", true);
        check(home, "//cdn.example.net/x", true);
        check(home, "https://10.1.2.3/x", true);
        check(home, "http://cdn.example.net/x", false);
        check(home, "https://user:pass@cdn.example.net/x", false);
        check(home, "file:///etc/passwd", false);
        check(home, "unix:/run/containerd.sock", false);
        check(home, "https://169.254.169.254/latest", false);
        check(home, "https://[fd00:ec2::254]/latest", false);
        check(home, "https://[::ffff:169.254.169.254]/", false);
        check(home, "https://2130706433/", false);
        check(home, "https://localhost/", false);
        check(home, "https://0.0.0.0/", false);
        check("http://127.0.0.1:5000/v2/", "http://127.0.0.2:6000/x", true);
        check(
            "http://127.0.0.1:5000/v2/",
            "http://169.254.169.254/x",
            false,
        );
        check(
            "http://169.254.10.1:5000/v2/",
            "http://169.254.10.2/x",
            true,
        );
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&Url::parse(a).unwrap(), &Url::parse(b).unwrap());
        assert!(same("https://a.example/x", "https://A.example:443/y"));
        assert!(!same("https://a.example/", "http://a.example/"));
        assert!(!same("https://a.example/", "https://a.example:444/"));
        assert!(!same("https://a.example/", "https://b.a.example/"));
    }
}
