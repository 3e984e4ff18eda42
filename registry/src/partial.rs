//! The head of a range answer: believed only if it is exactly what was asked.

use std::ops::Range;

use http::header::{CONTENT_ENCODING, CONTENT_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::Error;
use crate::range::{self, ContentRange};
use crate::transport::Reply;

pub(crate) fn request(range: &Range<u64>) -> Option<HeaderMap> {
    let value = HeaderValue::try_from(range::header(range)?).ok()?;
    Some(HeaderMap::from_iter([(RANGE, value)]))
}

pub(crate) fn check(reply: &Reply, range: &Range<u64>, total: u64) -> Result<(), Error> {
    let wrong = |reason: String| Error::Range {
        target: reply.target().to_owned(),
        reason,
    };
    match reply.status {
        StatusCode::PARTIAL_CONTENT => {}
        StatusCode::OK => {
            return Err(Error::NoRanges {
                target: reply.target().to_owned(),
            });
        }
        status => return Err(wrong(format!("HTTP status {}", status.as_u16()))),
    }
    if is_encoded(reply) {
        return Err(wrong("the content is encoded".to_owned()));
    }
    if reply
        .content_type()
        .is_some_and(|media_type| media_type.starts_with("multipart/"))
    {
        return Err(wrong("several parts instead of one".to_owned()));
    }
    let answered = reply
        .headers
        .get(CONTENT_RANGE)
        .and_then(|value| value.to_str().ok())
        .and_then(ContentRange::parse)
        .ok_or_else(|| wrong("no usable Content-Range".to_owned()))?;
    let asked = ContentRange {
        range: range.clone(),
        total,
    };
    if answered != asked {
        let shown = |range: &ContentRange| {
            format!(
                "bytes {}..{} of {}",
                range.range.start, range.range.end, range.total
            )
        };
        return Err(wrong(format!(
            "asked for {}, got {}",
            shown(&asked),
            shown(&answered)
        )));
    }
    let length = range.end.saturating_sub(range.start);
    match reply.content_length() {
        Some(announced) if announced != length => Err(wrong(format!(
            "{announced} bytes announced for a range of {length}"
        ))),
        _ => Ok(()),
    }
}

/// Compressed on the way although we asked for the bytes as they are.
pub(crate) fn is_encoded(reply: &Reply) -> bool {
    reply
        .headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
}
