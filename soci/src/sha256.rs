//! SHA-256 digests and their `sha256:<hex>` text.

mod running;

use sha2::{Digest as _, Sha256};

pub(crate) use running::Running;

pub(crate) type Sha256Bytes = [u8; 32];

pub(crate) fn sum(bytes: &[u8]) -> Sha256Bytes {
    Sha256::digest(bytes).into()
}

/// `sha256:` and 64 lowercase hex digits.
pub(crate) fn text(bytes: &Sha256Bytes) -> String {
    use std::fmt::Write as _;

    let mut text = String::from("sha256:");
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads `sha256:` and 64 lowercase hex digits, nothing else.
pub(crate) fn parse(text: &[u8]) -> Option<Sha256Bytes> {
    let hex: &[u8; 64] = text.strip_prefix(b"sha256:")?.try_into().ok()?;
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(hex.as_chunks::<2>().0) {
        let [high, low] = *pair;
        *byte = nibble(high)? << 4 | nibble(low)?;
    }
    Some(digest)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_survive_being_written_and_read() {
        let digest = sum(b"abc");
        let text = text(&digest);
        assert!(text.starts_with("sha256:ba7816bf8f01cfea"), "{text}");
        assert_eq!(parse(text.as_bytes()), Some(digest));
        assert_eq!(parse(text.to_uppercase().as_bytes()), None);
    }
}
