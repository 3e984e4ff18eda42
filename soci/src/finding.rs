//! What a check has to say.

use serde::Serialize;

/// Severest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Wrong: a reader refuses it, or shows something that is not in the image.
    Error,
    /// Right as far as it goes, yet some reader has trouble with it.
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
