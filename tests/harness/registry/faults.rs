//! What a registry can be told to do wrong.

use std::collections::HashSet;
use std::time::Duration;

/// How a v1 index can be found.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Discovery {
    /// The referrers API answers, and there is no fallback tag.
    #[default]
    Api,
    /// The API is unknown (404), and the fallback tag is there.
    Tag,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Credentials {
    pub username: String,
    pub password: String,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Auth {
    #[default]
    Open,
    Basic(Credentials),
    /// Tokens from an endpoint of the same host that wants the credentials; valid this long.
    Bearer(Credentials, Duration),
}

#[derive(Clone, Debug, Default)]
pub struct Faults {
    pub discovery: Discovery,
    pub auth: Auth,
    /// Blobs are answered with a 307 to the second port.
    pub redirect: bool,
    /// Ranges are ignored: 200 and the whole blob.
    pub no_ranges: bool,
    /// The answer says another range than was asked for, and sends that other one.
    pub wrong_range: bool,
    /// Before each answer.
    pub delay: Duration,
    /// Bytes per second of each blob.
    pub rate: Option<u64>,
    /// Each blob's answer ends with a closed connection after this many bytes.
    pub truncate: Option<u64>,
    /// One bit of this byte of this blob is wrong.
    pub flip: Option<(String, u64)>,
    /// So many requests get a 503 first.
    pub unavailable: u32,
    /// Blob requests are accepted and never answered.
    pub black_hole: bool,
    /// Answered with 404 whatever the layout has.
    pub missing: HashSet<String>,
}
