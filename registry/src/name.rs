//! What a manifest is called within its repository.

use oci_spec::image::Digest;

use crate::Error;

const TAG_LENGTH: usize = 128;

#[derive(Debug)]
pub(crate) enum Name {
    Tag(String),
    Digest(Digest),
}

impl Name {
    pub(crate) fn parse(text: &str) -> Result<Name, Error> {
        let invalid = |reason: &str| Error::Reference {
            reference: text.to_owned(),
            reason: reason.to_owned(),
        };
        if text.contains(':') {
            let digest = text.parse().map_err(|_| invalid("not a digest"))?;
            return Ok(Name::Digest(digest));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_tag = text.len() <= TAG_LENGTH
            && text.bytes().next().is_some_and(is_word)
            && text
                .bytes()
                .all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'));
        is_tag
            .then(|| Name::Tag(text.to_owned()))
            .ok_or_else(|| invalid("neither a tag nor a digest"))
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Name::Tag(tag) => tag,
            Name::Digest(digest) => digest.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, valid: bool) {
        let name = Name::parse(text);
        assert_eq!(name.is_ok(), valid, "{text}");
        assert!(name.is_err() || name.unwrap().as_str() == text);
    }

    #[test]
    fn names_cannot_leave_their_repository() {
        check("latest", true);
        check("_1.0-rc", true);
        check(&"a".repeat(128), true);
        check(&format!("sha256:{}", "0".repeat(64)), true);
        check(&"a".repeat(129), false);
        check("sha256:0", false);
        check("a/b", false);
        check("..", false);
        check("-a", false);
        check("a?b", false);
        check("", false);
    }
}
