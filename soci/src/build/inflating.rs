//! A gzip layer inflated as for its zTOC, and nothing else done with it.

use super::error::BuildError;
use super::gunzip::Gunzip;

/// The part of building that cannot be left out: what building costs is measured against it.
pub struct Inflating {
    gunzip: Gunzip,
    len: u64,
}

impl Default for Inflating {
    fn default() -> Self {
        Self {
            gunzip: Gunzip::new(),
            len: 0,
        }
    }
}

impl Inflating {
    /// Takes the next bytes of the layer.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), BuildError> {
        while !bytes.is_empty() {
            let step = self.gunzip.step(bytes)?;
            bytes = bytes.get(step.consumed..).unwrap_or_default();
            self.len += self.gunzip.output().len() as u64;
        }
        Ok(())
    }

    /// Bytes of the tar, whose checksums hold.
    pub fn finish(self) -> Result<u64, BuildError> {
        self.gunzip.finish()?;
        Ok(self.len)
    }
}
