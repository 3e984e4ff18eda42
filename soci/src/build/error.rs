//! Why a layer gets no zTOC.

use crate::error::Error;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The layer is sound, but no zTOC serves it. It can stay in its image without one.
    #[error("cannot be indexed: {what}; leave the layer without an index")]
    Unsupported { what: String },
    /// The layer is sound, but its zTOC would exceed what readers accept. It can stay in its image without one.
    #[error("cannot be indexed: {what}: {value} exceeds the limit of {limit}")]
    Limit {
        what: &'static str,
        value: u64,
        limit: u64,
    },
    /// No reader can unpack this layer.
    #[error("layer is damaged: {fault}")]
    Malformed { fault: Error },
    #[error("span size {0} is not possible for this layer; choose 1 to 2^63 - 1")]
    SpanSize(u64),
}
