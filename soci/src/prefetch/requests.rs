//! From the paths somebody wants loaded first to the spans that hold them.

use std::ops::Range;

use crate::error::Error;
use crate::spans::SpanTable;
use crate::toc::Toc;

/// Paths asked for: names, directories and globs (`*`, `?`, `**`).
#[derive(Debug, Default)]
pub struct Requests {
    paths: Vec<String>,
}

impl Requests {
    /// Leading slashes and `./` do not matter; what is only white space is left out.
    pub fn new<'a>(_paths: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        Ok(Self::default())
    }

    /// The paths of a JSON file: an array of strings.
    pub fn paths_from_json(_json: &[u8]) -> Result<Vec<String>, Error> {
        Ok(Vec::new())
    }

    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The spans of one layer that hold what is asked for, ascending and apart. Layers come from the top
    /// of the image to its bottom, since upper ones hide files of lower ones.
    pub fn layer(&mut self, _toc: &Toc, _spans: &SpanTable) -> Vec<Range<u32>> {
        Vec::new()
    }

    /// Paths that no layer so far holds.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(String::as_str)
    }
}
