//! What can go wrong between us and a registry.

use std::time::Duration;

use url::Url;

/// Cloneable, because readers that share one token exchange also share its failure.
///
/// No variant holds a query string, a header or free text of a server: those may carry secrets.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("registry options: {reason}")]
    Options { reason: String },
    #[error("registry reference {reference}: {reason}")]
    Reference { reference: String, reason: String },
    #[error("{target}: {reason}")]
    Transport { target: String, reason: String },
    #[error("{target}: {what} took longer than {} ms", .after.as_millis())]
    Timeout {
        target: String,
        what: &'static str,
        after: Duration,
    },
    #[error("{target}: HTTP status {status}{}", shown_code(.code))]
    Status {
        target: String,
        status: u16,
        code: Option<String>,
        retry_after: Option<Duration>,
    },
    #[error("{target}: access denied: {reason}; check the credentials for this host")]
    Denied { target: String, reason: String },
    #[error("{target}: not found")]
    NotFound { target: String },
    #[error("{target}: the host ignores Range, so the layer cannot be read in parts")]
    NoRanges { target: String },
    #[error("{target}: wrong answer to a range request: {reason}")]
    Range { target: String, reason: String },
    #[error("{target}: content has digest {actual}")]
    Digest { target: String, actual: String },
    #[error("{target}: content is larger than {limit} bytes")]
    TooLarge { target: String, limit: u64 },
    #[error("{target}: malformed content: {reason}")]
    Malformed { target: String, reason: String },
    #[error("{target}: refused redirect: {reason}")]
    Redirect { target: String, reason: String },
    #[error("{target}: the content to push cannot be had: {reason}")]
    Content { target: String, reason: String },
    #[error("{target}: other writers replaced it {attempts} times meanwhile; push again")]
    Contended { target: String, attempts: u32 },
    #[error("{target}: cannot answer the authentication challenge: {reason}")]
    Challenge { target: String, reason: String },
    /// For implementers of [`Credentials`](crate::Credentials).
    #[error("credentials for {host}: {reason}")]
    Credentials { host: String, reason: String },
}

impl Error {
    /// The same request may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Transport { .. } | Error::Timeout { .. } => true,
            Error::Status { status, .. } => is_transient(*status),
            _ => false,
        }
    }

    /// The host knows us and says no, or wants to know us and does not.
    pub fn is_denied(&self) -> bool {
        matches!(self, Error::Denied { .. } | Error::Challenge { .. })
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

fn is_transient(status: u16) -> bool {
    matches!(status, 408 | 429) || (status >= 500 && status != 501)
}

fn shown_code(code: &Option<String>) -> String {
    code.as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default()
}

/// A URL fit for messages: user info, query and fragment can be secrets.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}{}", url.scheme(), url.path()),
        None => format!("{}://{host}{}", url.scheme(), url.path()),
    }
}
