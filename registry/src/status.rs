//! Answers that are not a success: which error, when to retry, whether a token merely expired.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::StatusCode;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use crate::Error;
use crate::transport::Reply;

/// Error bodies are read to find a code, nothing more.
const BODY_LIMIT: u64 = 64 << 10;
const CODE_LENGTH: usize = 64;

/// A failure, with what its body told.
pub(crate) struct Failure {
    pub(crate) error: Error,
    pub(crate) code: Option<String>,
    /// The body says that a token expired, whatever the status.
    pub(crate) expired: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure {
            error,
            code: None,
            expired: false,
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        failure.error
    }
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Consumes an answer whose status is not what was hoped for.
pub(crate) async fn failure(reply: Reply) -> Failure {
    let status = reply.status;
    let target = reply.target().to_owned();
    let retry_after = reply
        .headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, SystemTime::now()));
    // A body that cannot be read tells nothing; the status stands.
    let body = reply.read(BODY_LIMIT).await.unwrap_or_default();
    let (code, expired) = told(&body);
    let error = match status {
        StatusCode::NOT_FOUND => Error::NotFound { target },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let reason = match &code {
                Some(code) => format!("HTTP status {} ({code})", status.as_u16()),
                None => format!("HTTP status {}", status.as_u16()),
            };
            Error::Denied { target, reason }
        }
        _ => Error::Status {
            target,
            status: status.as_u16(),
            code: code.clone(),
            retry_after,
        },
    };
    Failure {
        error,
        code,
        expired,
    }
}

/// The first error code of a registry's JSON or S3's XML, and whether it is about an expired token.
fn told(body: &Bytes) -> (Option<String>, bool) {
    if let Ok(Errors { errors }) = serde_json::from_slice(body) {
        let expired = errors.iter().any(|entry| {
            entry.code == "ExpiredToken" || entry.message.contains("token has expired")
        });
        return (
            errors.into_iter().find_map(|entry| clean(&entry.code)),
            expired,
        );
    }
    let text = String::from_utf8_lossy(body);
    let code = text
        .split_once("<Code>")
        .and_then(|(_, rest)| rest.split_once("</Code>"))
        .and_then(|(code, _)| clean(code));
    let expired = code.as_deref() == Some("ExpiredToken");
    (code, expired)
}

/// Codes are identifiers; anything else could forge a log line or carry a secret.
fn clean(code: &str) -> Option<String> {
    let plain = code
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (plain && !code.is_empty() && code.len() <= CODE_LENGTH).then(|| code.to_owned())
}

/// `Retry-After` in seconds or as a date.
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value.trim()).ok()?;
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, code: Option<&str>, expired: bool) {
        let (found, is_expired) = told(&Bytes::copy_from_slice(body.as_bytes()));
        assert_eq!((found.as_deref(), is_expired), (code, expired), "{body}");
    }

    #[test]
    fn expired_tokens_are_recognised_in_the_words_of_each_registry() {
        let ecr = r#"{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}"#;
        check(ecr, Some("DENIED"), true);
        check(
            "<?xml?><Error><Code>ExpiredToken</Code></Error>",
            Some("ExpiredToken"),
            true,
        );
        check(
            "<Error><Code>AccessDenied</Code></Error>",
            Some("AccessDenied"),
            false,
        );
        check(
            r#"{"errors":[{"code":"DENIED","message":"no"}]}"#,
            Some("DENIED"),
            false,
        );
        check(r#"{"errors":[{"code":"a\nb"}]}"#, None, false);
        check("<Code>", None, false);
        check("", None, false);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let later = retry_after("Wed, 21 Oct 2015 07:28:30 GMT", now);
        assert_eq!(later, Some(Duration::from_secs(30)));
        let earlier = retry_after("Wed, 21 Oct 2015 07:27:00 GMT", now);
        assert_eq!(earlier, Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }
}
