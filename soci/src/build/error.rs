//! Why a layer gets no zTOC.

use crate::error::Error;

/// Why there is no zTOC. Only [`BuildError::Malformed`] says that something is wrong with the layer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The layer is sound, but no zTOC can serve it; it stays in its image without one.
    #[error("layer stays without an index: {what}")]
    Unsupported { what: String },
    /// The layer is sound, but readers refuse zTOCs of this size; it stays in its image without one.
    #[error("layer stays without an index: {what}: {value} exceeds the limit of {limit}")]
    Limit {
        what: &'static str,
        value: u64,
        limit: u64,
    },
    /// Nobody can unpack these bytes: the layer or its transfer is broken.
    #[error("layer is damaged: {what}")]
    Malformed { what: String },
    #[error(
        "span size {0} is out of range: a plain tar needs at least 1, and the format holds up to 2^63 - 1"
    )]
    SpanSize(u64),
}

impl BuildError {
    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    pub(super) fn malformed(what: impl Into<String>) -> Self {
        Self::Malformed { what: what.into() }
    }
}

impl From<Error> for BuildError {
    fn from(error: Error) -> Self {
        match error {
            Error::Limit { what, value, limit } => Self::Limit { what, value, limit },
            // Its message gives the same advice for another occasion.
            Error::Unsupported { what } => Self::Unsupported { what },
            Error::Tar(_) | Error::TarTruncated(_) | Error::GzipHeader(_) => {
                Self::malformed(error.to_string())
            }
            // From reading back what was built: sound as a tar, but nothing a reader accepts.
            _ => Self::unsupported(error.to_string()),
        }
    }
}
