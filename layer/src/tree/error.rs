//! Why a table of contents has no tree that equals what unpacking would make.

#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TreeError {
    #[error("{path}: NUL in a name")]
    Nul { path: String },
    #[error("{path}: component longer than 255 bytes")]
    LongComponent { path: String },
    #[error("{path}: path longer than 4096 bytes")]
    LongPath { path: String },
    #[error("{path}: more than 256 directories deep")]
    Deep { path: String },
    #[error("more than {0} files and directories")]
    Many(u32),
    #[error("{path}: lies below something that is not a directory")]
    NotADirectory { path: String },
    #[error("{path}: hard link to {target}, which is not there at this point of the layer")]
    MissingTarget { path: String, target: String },
    #[error("{path}: hard link to a directory")]
    LinkedDirectory { path: String },
    #[error("{path}: symbolic link whose target is empty, too long or has a NUL")]
    SymlinkTarget { path: String },
    #[error("{path}: whiteout without a name, or used as a directory")]
    Whiteout { path: String },
}

/// A name from an image, fit for one line of a log.
pub(super) fn printable(raw: &[u8]) -> String {
    const SHOWN: usize = 128;
    let shown = raw.get(..SHOWN).unwrap_or(raw);
    let mut text = String::from_utf8_lossy(shown).escape_debug().to_string();
    if raw.len() > SHOWN {
        text.push('…');
    }
    text
}
