//! zTOC blobs: the table of contents and the span table of one layer.

use crate::error::Error;
use crate::spans::SpanTable;
use crate::toc::Toc;

pub use crate::limits::Limits;

pub struct Ztoc {
    pub version: String,
    pub build_tool: String,
    pub toc: Toc,
    pub spans: SpanTable,
}

impl Ztoc {
    pub fn parse(blob: &[u8], limits: &Limits) -> Result<Self, Error> {
        let _ = (blob, limits);
        Err(Error::Missing("body"))
    }
}
