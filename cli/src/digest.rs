//! Digests of bytes as they pass.

use std::fmt::Write as _;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use sha2::{Digest as _, Sha256};

use crate::content::{Chunks, Content};
use crate::error::Error;

/// `sha256:` and the sum in hexadecimal.
pub(crate) fn text(sum: &[u8]) -> String {
    sum.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The same bytes, followed by an error unless they are what the content says.
pub(crate) fn checked(chunks: Chunks, content: &Content, place: String) -> Chunks {
    let state = (chunks, Sha256::new(), 0_u64, content.clone(), place);
    stream::try_unfold(
        state,
        |(mut chunks, mut hash, size, content, place)| async move {
            if let Some(chunk) = chunks.try_next().await? {
                hash.update(&chunk);
                let size = size.saturating_add(chunk.len() as u64);
                if size > content.size {
                    let (expected, actual) = (content.size.to_string(), format!("over {size}"));
                    return Err(delivered(&content, place, "size", expected, actual));
                }
                return Ok(Some((chunk, (chunks, hash, size, content, place))));
            }
            let (expected, actual) = (content.size.to_string(), size.to_string());
            if expected != actual {
                return Err(delivered(&content, place, "size", expected, actual));
            }
            let (expected, actual) = (content.digest.to_string(), text(&hash.finalize()));
            if expected != actual {
                return Err(delivered(&content, place, "digest", expected, actual));
            }
            Ok(None::<(Bytes, _)>)
        },
    )
    .boxed()
}

pub(crate) fn delivered(
    content: &Content,
    place: String,
    what: &'static str,
    expected: String,
    actual: String,
) -> Error {
    Error::Delivered {
        layer: content.digest.to_string(),
        place,
        what,
        expected,
        actual,
    }
}
