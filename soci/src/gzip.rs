//! Headers of gzip members (RFC 1952).

use crate::error::Error;

/// Whether `bytes` are one complete member header and nothing else.
pub fn check_header(bytes: &[u8]) -> Result<(), Error> {
    let _ = bytes;
    Err(Error::GzipHeader("not implemented yet"))
}
