//! Differences of two SOCI indexes or two zTOCs, in words.

use serde::Serialize;

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The layer, entry or field that differs.
    pub subject: String,
    pub text: String,
}

/// Differences of two SOCI index manifests.
pub fn indexes(_old: &[u8], _new: &[u8]) -> Result<Vec<Difference>, Error> {
    Err(Error::EmptyIndex)
}

/// Differences of two zTOCs: entries, spans, sizes.
pub fn ztocs(_old: &[u8], _new: &[u8]) -> Result<Vec<Difference>, Error> {
    Err(Error::EmptyIndex)
}
