//! Parses `WWW-Authenticate` (RFC 9110, 11.6.1) into what we can answer.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// How a host wants to be convinced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    Basic,
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

impl Challenge {
    /// The best offer: a token before a password, as the password is then sent less often.
    pub(crate) fn choose(headers: &HeaderMap) -> Option<Challenge> {
        let offers: Vec<Offer> = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(parse)
            .collect();
        let bearer = offers.iter().find_map(|offer| {
            let realm = offer.param("realm").filter(|_| offer.is("bearer"))?;
            Some(Challenge::Bearer {
                realm: realm.to_owned(),
                service: offer.param("service").map(str::to_owned),
                scope: offer
                    .param("scope")
                    .filter(|scope| !scope.is_empty())
                    .map(str::to_owned),
            })
        });
        let basic = || {
            offers
                .iter()
                .any(|offer| offer.is("basic"))
                .then_some(Challenge::Basic)
        };
        bearer.or_else(basic)
    }
}

#[derive(Debug, Default)]
struct Offer {
    scheme: String,
    params: Vec<(String, String)>,
}

impl Offer {
    fn is(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    fn param(&self, name: &str) -> Option<&str> {
        let found = self
            .params
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A comma separates parameters as well as challenges; only the `=` after a word tells them apart.
fn parse(header: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (word, after) = token(rest);
        if word.is_empty() {
            return offers;
        }
        match after.trim_start().strip_prefix('=') {
            // The padding of a token68, as in `Negotiate abc==`.
            Some(after) if after.is_empty() || after.starts_with(['=', ',']) => {
                rest = after.trim_start_matches('=');
            }
            Some(after) => {
                let (value, after) = value(after.trim_start());
                if let Some(offer) = offers.last_mut() {
                    offer.params.push((word.to_owned(), value));
                }
                rest = after;
            }
            None => {
                offers.push(Offer {
                    scheme: word.to_owned(),
                    params: Vec::new(),
                });
                rest = after;
            }
        }
    }
}

fn token(text: &str) -> (&str, &str) {
    let is_delimiter = |c: char| c.is_whitespace() || matches!(c, '=' | ',' | '"');
    let end = text.find(is_delimiter).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// A quoted string, with its escapes resolved, or a token.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (word, rest) = token(text);
        return (word.to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => value.extend(chars.next()),
            _ => value.push(c),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[&str], expected: Option<Challenge>) {
        let map = headers
            .iter()
            .map(|value| (WWW_AUTHENTICATE, value.parse().unwrap()))
            .collect();
        assert_eq!(Challenge::choose(&map), expected, "{headers:?}");
    }

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_of_known_registries_are_understood() {
        check(
            &[
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull,push",error="invalid_token""#,
            ],
            bearer(
                "https://auth.docker.io/token",
                Some("registry.docker.io"),
                Some("repository:library/alpine:pull,push"),
            ),
        );
        check(
            &[
                r#"Basic realm="https://1.dkr.ecr.us-east-1.amazonaws.com/",service="ecr.amazonaws.com""#,
            ],
            Some(Challenge::Basic),
        );
        check(
            &[r#"bearer realm="https://a/t""#],
            bearer("https://a/t", None, None),
        );
        check(
            &[r#"Bearer realm=https://a/t , scope="""#],
            bearer("https://a/t", None, None),
        );
    }

    #[test]
    fn a_token_is_preferred_wherever_it_is_offered() {
        check(
            &["Basic realm=x", r#"Bearer realm="https://a/t""#],
            bearer("https://a/t", None, None),
        );
        check(
            &[r#"Negotiate abc==, Basic realm="x, y", Bearer realm="https://a/\"t\"",service=s"#],
            bearer("https://a/\"t\"", Some("s"), None),
        );
        check(&["Basic realm=x, Bearer service=s"], Some(Challenge::Basic));
    }

    #[test]
    fn nonsense_is_no_challenge() {
        for header in [
            "",
            ",,,",
            "=",
            "\"",
            "realm=\"x\"",
            "Negotiate",
            "Bearer",
            "Bearer realm",
        ] {
            check(&[header], None);
        }
        check(
            &[r#"Bearer realm="unterminated"#],
            bearer("unterminated", None, None),
        );
        check(&[], None);
    }
}
