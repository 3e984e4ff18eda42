//! Hashes content, mostly as it arrives, against its digest.

use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::Error;

pub(crate) struct Verifier {
    hasher: Hasher,
    expected: Digest,
}

enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Verifier {
    /// `None` for an algorithm we cannot check; such content is of no use.
    pub(crate) fn new(digest: &Digest) -> Option<Verifier> {
        let hasher = match digest.algorithm() {
            DigestAlgorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            DigestAlgorithm::Sha384 => Hasher::Sha384(Sha384::new()),
            DigestAlgorithm::Sha512 => Hasher::Sha512(Sha512::new()),
            _ => return None,
        };
        Some(Verifier {
            hasher,
            expected: digest.clone(),
        })
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match &mut self.hasher {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha384(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// `target` names the content in the error.
    pub(crate) fn finish(self, target: &str) -> Result<(), Error> {
        let hex = match self.hasher {
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::Sha384(hasher) => hex(&hasher.finalize()),
            Hasher::Sha512(hasher) => hex(&hasher.finalize()),
        };
        if hex == self.expected.digest() {
            return Ok(());
        }
        let actual = format!("{}:{hex}", self.expected.algorithm());
        Err(Error::Digest {
            target: target.to_owned(),
            actual,
        })
    }
}

/// The digest of content that has no other yet.
pub(crate) fn of(bytes: &[u8]) -> Result<Digest, Error> {
    let digest = format!("sha256:{}", hex(&Sha256::digest(bytes)));
    digest.parse().map_err(|_| Error::Malformed {
        target: digest.clone(),
        reason: "not a digest".to_owned(),
    })
}

/// Whether content has a digest, of an algorithm we can check.
pub(crate) fn check(bytes: &[u8], digest: &Digest) -> Result<(), Error> {
    let mut verifier = Verifier::new(digest).ok_or_else(|| Error::Malformed {
        target: digest.to_string(),
        reason: "its digest is of an algorithm that cannot be checked".to_owned(),
    })?;
    verifier.update(bytes);
    verifier.finish(digest.as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            // Writing to a String does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(digest: &str, pieces: &[&str], matches: bool) {
        let mut verifier = Verifier::new(&digest.parse().unwrap()).unwrap();
        pieces
            .iter()
            .for_each(|piece| verifier.update(piece.as_bytes()));
        assert_eq!(
            verifier.finish("content").is_ok(),
            matches,
            "{digest} {pieces:?}"
        );
    }

    #[test]
    fn content_is_checked_in_each_algorithm() {
        let sha256 = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check(sha256, &["abc"], true);
        check(sha256, &["a", "bc"], true);
        check(sha256, &["abd"], false);
        let sha512 = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
        check(sha512, &["abc"], true);
        check(sha512, &[], false);
    }

    #[test]
    fn an_unknown_algorithm_is_not_trusted() {
        assert!(Verifier::new(&"md5:900150983cd24fb0d6963f7d28e17f72".parse().unwrap()).is_none());
    }
}
