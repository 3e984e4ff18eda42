//! Names of tar members as paths: cleaned lexically, so that none leaves the root.

use super::error::{TreeError, printable};

pub(super) const MAX_PATH: usize = 4096;
pub(super) const MAX_DEPTH: usize = 256;

/// One component, as a place in the raw name it comes from.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    pub(super) start: u16,
    pub(super) len: u8,
}

impl Part {
    fn new(raw: &[u8], start: usize, len: usize) -> Result<Part, TreeError> {
        let len = u8::try_from(len).map_err(|_| TreeError::LongComponent {
            path: printable(raw),
        })?;
        let start = u16::try_from(start).map_err(|_| TreeError::LongPath {
            path: printable(raw),
        })?;
        Ok(Part { start, len })
    }

    pub(super) fn of<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        let start = usize::from(self.start);
        raw.get(start..start + usize::from(self.len))
            .unwrap_or_default()
    }
}

fn check(raw: &[u8]) -> Result<(), TreeError> {
    if raw.len() > MAX_PATH {
        return Err(TreeError::LongPath {
            path: printable(raw),
        });
    }
    if raw.contains(&0) {
        return Err(TreeError::Nul {
            path: printable(raw),
        });
    }
    Ok(())
}

/// Replaces `parts` by the components of `/` + `raw` after lexical cleaning; none are left for the root itself.
pub(super) fn clean(raw: &[u8], parts: &mut Vec<Part>) -> Result<(), TreeError> {
    parts.clear();
    check(raw)?;
    let mut start = 0;
    for component in raw.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            _ => parts.push(Part::new(raw, start, component.len())?),
        }
        start += component.len() + 1;
    }
    if parts.len() > MAX_DEPTH {
        return Err(TreeError::Deep {
            path: printable(raw),
        });
    }
    Ok(())
}

/// A name as the raw text of its directory and an ordinary last component; None when only `clean` can tell.
pub(super) fn split(raw: &[u8]) -> Result<Option<(&[u8], Part)>, TreeError> {
    let mut end = raw.len();
    while end > 0 && raw.get(end - 1) == Some(&b'/') {
        end -= 1;
    }
    let trimmed = raw.get(..end).unwrap_or_default();
    let start = trimmed
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |slash| slash + 1);
    let base = trimmed.get(start..).unwrap_or_default();
    if matches!(base, b"" | b"." | b"..") {
        return Ok(None);
    }
    check(raw)?;
    let directory = trimmed.get(..start).unwrap_or_default();
    Ok(Some((directory, Part::new(raw, start, base.len())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_clean(raw: &str, expected: &[&str]) {
        let mut parts = Vec::new();
        clean(raw.as_bytes(), &mut parts).unwrap();
        let found: Vec<_> = parts.iter().map(|part| part.of(raw.as_bytes())).collect();
        let expected: Vec<_> = expected.iter().map(|part| part.as_bytes()).collect();
        assert_eq!(found, expected, "{raw}");
    }

    #[test]
    fn no_name_leaves_the_root() {
        check_clean("a/b", &["a", "b"]);
        check_clean("./a//b/", &["a", "b"]);
        check_clean("/a/./b", &["a", "b"]);
        check_clean("../../etc/passwd", &["etc", "passwd"]);
        check_clean("a/../../b", &["b"]);
        check_clean("a/..", &[]);
        check_clean("./", &[]);
        check_clean("", &[]);
        check_clean("...", &["..."]);
    }

    #[test]
    fn limits_are_exact() {
        let mut parts = Vec::new();
        let mut ok = |raw: Vec<u8>| clean(&raw, &mut parts).is_ok();
        assert!(ok(vec![b'a'; 255]));
        assert!(!ok(vec![b'a'; 256]));
        assert!(ok(b"a/".repeat(256)));
        assert!(!ok(b"a/".repeat(257)));
        assert!(ok([vec![b'/'; 4095], b"a".to_vec()].concat()));
        assert!(!ok([vec![b'/'; 4096], b"a".to_vec()].concat()));
        assert!(!ok(b"a\0b".to_vec()));
    }

    #[test]
    fn splitting_agrees_with_cleaning() {
        for raw in ["a", "./a", "a/b/", "x/../a", "/a//b///"] {
            let raw = raw.as_bytes();
            let mut parts = Vec::new();
            clean(raw, &mut parts).unwrap();
            let (_, base) = split(raw).unwrap().unwrap();
            assert_eq!(parts.last(), Some(&base));
        }
        for raw in ["", "/", "a/..", "./", "a/."] {
            assert_eq!(split(raw.as_bytes()).unwrap(), None);
        }
    }
}
