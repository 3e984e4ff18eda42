//! Globs over paths: `*` and `?` within a component, `**` for any number of components.

/// A pattern over clean paths. Brackets and braces are plain characters, since file names have them.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    components: Vec<Vec<u8>>,
}

impl Glob {
    pub(crate) fn new(pattern: &[u8]) -> Self {
        let components = pattern.split(|byte| *byte == b'/');
        Self {
            components: components.map(<[u8]>::to_vec).collect(),
        }
    }

    /// Whether a path names something special, so that it is a glob.
    pub(crate) fn is_glob(path: &[u8]) -> bool {
        path.iter().any(|byte| matches!(byte, b'*' | b'?'))
    }

    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        let path: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
        wild(
            &self.components,
            &path,
            |component| component == b"**",
            |pattern, component| component_matches(pattern, component),
        )
    }
}

fn component_matches(pattern: &[u8], component: &[u8]) -> bool {
    let characters: Vec<&[u8]> = characters(component).collect();
    let pattern: Vec<&[u8]> = self::characters(pattern).collect();
    wild(
        &pattern,
        &characters,
        |wanted| *wanted == b"*",
        |wanted, found| *wanted == b"?" || wanted == found,
    )
}

/// UTF-8 characters; bytes that are none stand alone.
fn characters(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid();
        let ends = valid.char_indices().map(|(at, c)| (at, at + c.len_utf8()));
        let valid = ends.filter_map(|(start, end)| valid.as_bytes().get(start..end));
        valid.chain(chunk.invalid().chunks(1))
    })
}

/// Matches a list against a pattern in which some elements stand for any number of elements. Only the last
/// such element ever needs another try, so that the work is at most the product of the lengths.
fn wild<P, T>(
    pattern: &[P],
    list: &[T],
    any: impl Fn(&P) -> bool,
    one: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut at, mut next) = (0, 0);
    // After the last `any`: its position, and how far the list had come.
    let mut retry: Option<(usize, usize)> = None;
    while let Some(element) = list.get(next) {
        match pattern.get(at) {
            Some(wanted) if any(wanted) => {
                retry = Some((at, next));
                at += 1;
            }
            Some(wanted) if one(wanted, element) => {
                at += 1;
                next += 1;
            }
            _ => {
                let Some((star, taken)) = retry else {
                    return false;
                };
                retry = Some((star, taken + 1));
                at = star + 1;
                next = taken + 1;
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, path: &str, expected: bool) {
        let glob = Glob::new(pattern.as_bytes());
        assert_eq!(glob.matches(path.as_bytes()), expected, "{pattern} {path}");
    }

    #[test]
    fn stars_stay_within_a_component_and_double_stars_do_not() {
        check("bin/*", "bin/sh", true);
        check("bin/*", "bin/a/sh", false);
        check("bin/*", "bin", false);
        check("bin/**", "bin/a/sh", true);
        check("**/*.so", "libc.so", true);
        check("**/*.so", "usr/lib/x/libc.so", true);
        check("**/*.so", "usr/lib/libc.so.6", false);
        check("**/lib/**/*.py", "usr/lib/a/b/c.py", true);
        check("**/lib/**/*.py", "usr/lib/c.py", true);
        check("**/lib/**/*.py", "usr/lob/c.py", false);
        check("a**z", "abcz", true);
        check("a**z", "ab/cz", false);
        check("**", "anything/at/all", true);
    }

    #[test]
    fn a_question_mark_is_one_character() {
        check("a?c", "abc", true);
        check("a?c", "aéc", true);
        check("a?c", "ac", false);
        check("a?c", "a/c", false);
        check("[id]?", "[id]x", true);
        assert!(Glob::new(b"a?c").matches(b"a\xffc"));
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        let stars = "*a".repeat(1000);
        check(&stars, &"a".repeat(1999), true);
        check(&format!("{stars}b"), &"a".repeat(2000), false);
    }
}
