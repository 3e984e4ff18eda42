//! JSON as Go's encoder writes it, so that a digest is the same whichever tool wrote the document.

mod document;

use std::io;

use oci_spec::image::{Digest, DigestAlgorithm};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};

use crate::error::Error;
use crate::sha256;

pub use document::{Annotations, Descriptor, Index, Manifest, Platform};

/// Longest manifest or image index that is read.
pub const MAX_LEN: u64 = 4 << 20;

/// One line, members in the order of the type, strings escaped as Go does.
pub fn to_vec<T: Serialize>(document: &T) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, GoFormatter);
    document
        .serialize(&mut serializer)
        .map_err(|error| Error::Json {
            what: "a document to be written",
            reason: error.to_string(),
        })?;
    Ok(bytes)
}

/// The digest of a document or blob.
pub fn digest(bytes: &[u8]) -> Result<Digest, Error> {
    parse_digest("digest", &sha256::text(&sha256::sum(bytes)))
}

/// A SHA-256 digest; SOCI knows no other.
pub(crate) fn parse_digest(what: &'static str, text: &str) -> Result<Digest, Error> {
    let digest = text.parse::<Digest>().ok();
    let digest = digest.filter(|digest| *digest.algorithm() == DigestAlgorithm::Sha256);
    digest.ok_or_else(|| Error::Digest {
        what,
        text: text.chars().take(100).collect(),
    })
}

pub(crate) fn parse<T: DeserializeOwned>(what: &'static str, json: &[u8]) -> Result<T, Error> {
    let value = json.len() as u64;
    if value > MAX_LEN {
        let (what, limit) = ("bytes of a document", MAX_LEN);
        return Err(Error::Limit { what, value, limit });
    }
    serde_json::from_slice(json).map_err(|error| Error::Json {
        what,
        reason: error.to_string(),
    })
}

/// Go escapes what could end a script element or a line of JavaScript; for the rest both agree.
struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        let mut rest = fragment;
        while let Some((at, special)) = rest
            .char_indices()
            .find_map(|(at, c)| Some((at, escape(c)?)))
        {
            let (plain, tail) = rest.split_at(at);
            CompactFormatter.write_string_fragment(writer, plain)?;
            writer.write_all(special.as_bytes())?;
            let mut tail = tail.chars();
            tail.next();
            rest = tail.as_str();
        }
        CompactFormatter.write_string_fragment(writer, rest)
    }
}

fn escape(c: char) -> Option<&'static str> {
    match c {
        '<' => Some("\\u003c"),
        '>' => Some("\\u003e"),
        '&' => Some("\\u0026"),
        '\u{2028}' => Some("\\u2028"),
        '\u{2029}' => Some("\\u2029"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let json = String::from_utf8(to_vec(&text).unwrap()).unwrap();
        assert_eq!(json, format!("\"{expected}\""));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn strings_are_escaped_as_go_does() {
        check("plain", "plain");
        check("<a>&b", "\\u003ca\\u003e\\u0026b");
        check("\u{2028}é\u{2029}", "\\u2028é\\u2029");
        check("\"\\/", "\\\"\\\\/");
        check(
            "\u{8}\u{c}\n\r\t\u{1}\u{1f}\u{7f}",
            "\\b\\f\\n\\r\\t\\u0001\\u001f\u{7f}",
        );
        check("", "");
    }
}
