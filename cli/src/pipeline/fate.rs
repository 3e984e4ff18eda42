//! What became of a layer.

use std::sync::Arc;

use soci::spans::SpanTable;
use soci::toc::Toc;

use crate::content::Content;

#[derive(Clone)]
pub(crate) enum Fate {
    Indexed(Indexed),
    /// The image works without an index of this layer; the text says why it has none.
    Skipped(String),
}

#[derive(Clone)]
pub(crate) struct Indexed {
    pub ztoc: Content,
    /// As the zTOC says.
    pub span_size: u64,
    /// The zTOC was there before.
    pub reused: bool,
    pub disable_xattrs: bool,
    /// Kept only where somebody asks for the spans of paths or ranges.
    pub contents: Option<Arc<(Toc, SpanTable)>>,
}

impl Fate {
    /// The line that scripts look for.
    pub(crate) fn line(&self, layer: &Content) -> String {
        let digest = &layer.digest;
        match self {
            Fate::Indexed(Indexed { ztoc, reused, .. }) => {
                let suffix = if *reused { " (already exists)" } else { "" };
                format!("layer {digest} -> ztoc {}{suffix}", ztoc.digest)
            }
            Fate::Skipped(reason) => {
                format!(
                    "ztoc skipped - layer {digest} ({}) {reason}",
                    layer.media_type
                )
            }
        }
    }
}
