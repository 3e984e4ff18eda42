//! How large a zTOC may become while it is collected.

use super::error::BuildError;
use crate::limits::Limits;

/// Adds up what the parts of a zTOC take at most, so that neither it nor its parts grow beyond what readers
/// accept.
#[derive(Debug)]
pub(super) struct Budget {
    used: u64,
    limit: u64,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            used: 0,
            limit: limits.blob,
        }
    }

    pub(super) fn take(&mut self, bytes: u64) -> Result<(), BuildError> {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.limit {
            return Err(BuildError::Limit {
                what: "bytes of its zTOC",
                value: self.used,
                limit: self.limit,
            });
        }
        Ok(())
    }

    /// No fewer bytes than the zTOC will have.
    pub(super) fn used(&self) -> u64 {
        self.used
    }
}
