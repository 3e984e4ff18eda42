//! Names of tar members as paths from the root of the image.

use std::borrow::Cow;

/// Without leading, trailing and doubled slashes, `.` and `..`; nothing climbs out of the root, whose path
/// is empty.
pub(crate) fn clean(name: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |part: &[u8]| !matches!(part, b"" | b"." | b"..");
    let stripped = name.strip_prefix(b"./").unwrap_or(name);
    let stripped = stripped.strip_suffix(b"/").unwrap_or(stripped);
    if stripped.split(|byte| *byte == b'/').all(is_plain) {
        return Cow::Borrowed(stripped);
    }
    let mut parts = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b".." => drop(parts.pop()),
            part if is_plain(part) => parts.push(part),
            _ => {}
        }
    }
    Cow::Owned(parts.join(b"/".as_slice()))
}

/// The directory of a clean path, and the name in it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

/// The directories above a clean path, nearest first, the root last.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path), |path| (!path.is_empty()).then(|| split(path).0)).skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(clean(name.as_bytes()), expected.as_bytes(), "{name}");
    }

    #[test]
    fn names_of_every_archiver_become_the_same_path() {
        for name in [
            "a/b", "/a/b", "./a/b", "a/b/", "a//b", "a/./b", "a/c/../b", "../a/b", ".//a/b",
        ] {
            check(name, "a/b");
        }
        for root in ["", "/", ".", "./", "..", "/../", "a/.."] {
            check(root, "");
        }
        check("...", "...");
        check(".a", ".a");
    }

    #[test]
    fn ancestors_end_at_the_root() {
        let found: Vec<_> = ancestors(b"a/b/c").collect();
        assert_eq!(found, [b"a/b".as_slice(), b"a", b""]);
        assert_eq!(ancestors(b"").count(), 0);
    }
}
