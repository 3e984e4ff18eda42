//! Progress of single layers on a terminal; in a pipe nothing at all, since callers may read it late.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::content::Content;

const TEMPLATE: &str =
    "{prefix} [{bar:30}] {bytes:>10}/{total_bytes:10} {bytes_per_sec:>12} {eta:>5} left";

#[derive(Clone)]
pub(crate) struct Progress {
    bars: Option<Arc<MultiProgress>>,
}

/// One layer on its way; the bar goes when this is dropped.
pub(crate) struct Bar(Option<ProgressBar>);

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let show = !quiet && stderr().is_terminal();
        Progress {
            bars: show.then(|| Arc::new(MultiProgress::new())),
        }
    }

    pub(crate) fn layer(&self, layer: &Content) -> Bar {
        Bar(self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new(layer.size));
            if let Ok(style) = ProgressStyle::with_template(TEMPLATE) {
                bar.set_style(style.progress_chars("=> "));
            }
            let short: String = layer.digest.digest().chars().take(12).collect();
            bar.set_prefix(short);
            bar
        }))
    }
}

impl Bar {
    pub(crate) fn advance(&self, bytes: usize) {
        if let Some(bar) = &self.0 {
            bar.inc(bytes as u64);
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
