//! What a check has to say.

use std::collections::BTreeMap;

use serde::Serialize;

/// Findings of one kind that are told one by one.
const MAX_ALIKE: u32 = 20;
/// Longest name that is quoted.
const MAX_QUOTE: usize = 200;

/// Severest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wrong: some current reader refuses it, or would show something that is not in the image.
    Error,
    /// Right as far as it goes, yet older readers have trouble with it, or it says something untrue that
    /// no reader looks at.
    Warning,
    /// Worth knowing.
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// Kebab-case, the same in every release.
    pub code: &'static str,
    /// Digest of the artifact or layer concerned.
    pub subject: String,
    pub text: String,
}

/// Collects what is found about one subject. Of each kind the first few are kept and the others counted, so
/// that a layer with a million faults does not fill the memory.
#[derive(Debug)]
pub(crate) struct Findings {
    subject: String,
    list: Vec<Finding>,
    counts: BTreeMap<(&'static str, Severity), u32>,
}

impl Findings {
    pub(crate) fn new(subject: impl Into<String>) -> Self {
        Self {
            subject: subject.into(),
            list: Vec::new(),
            counts: BTreeMap::new(),
        }
    }

    pub(crate) fn error(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Severity::Error, code, text);
    }

    pub(crate) fn warning(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Severity::Warning, code, text);
    }

    pub(crate) fn note(&mut self, code: &'static str, text: impl Into<String>) {
        self.add(Severity::Note, code, text);
    }

    pub(crate) fn add(&mut self, severity: Severity, code: &'static str, text: impl Into<String>) {
        let count = self.counts.entry((code, severity)).or_insert(0);
        *count = count.saturating_add(1);
        if *count <= MAX_ALIKE {
            self.list.push(Finding {
                severity,
                code,
                subject: self.subject.clone(),
                text: text.into(),
            });
        }
    }

    /// All of them, the severest first.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        for ((code, severity), count) in self.counts {
            if let Some(more @ 1..) = count.checked_sub(MAX_ALIKE) {
                self.list.push(Finding {
                    severity,
                    code,
                    subject: self.subject.clone(),
                    text: format!("the same is found {more} more times"),
                });
            }
        }
        self.list.sort_by_key(|finding| finding.severity);
        self.list
    }
}

/// A name for people: readable, and not endless.
pub(crate) fn quote(name: &[u8]) -> String {
    let cut = name.get(..MAX_QUOTE);
    let text = String::from_utf8_lossy(cut.unwrap_or(name));
    let dots = if cut.is_some() { "…" } else { "" };
    format!("{text:?}{dots}")
}
