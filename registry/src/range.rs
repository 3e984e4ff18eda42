//! Byte ranges of HTTP: what we ask for and what an answer claims to be (pure).

use std::ops::Range;

/// A `Content-Range` of a single range with a known total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) range: Range<u64>,
    pub(crate) total: u64,
}

/// The `Range` header for a non-empty range.
pub(crate) fn header(range: &Range<u64>) -> Option<String> {
    let last = range.end.checked_sub(1)?;
    (range.start <= last).then(|| format!("bytes={}-{last}", range.start))
}

impl ContentRange {
    /// `bytes first-last/total`; `*` in any place is not an answer we can check.
    pub(crate) fn parse(value: &str) -> Option<ContentRange> {
        let (unit, rest) = value.trim().split_once(' ')?;
        if !unit.eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (range, total) = rest.trim().split_once('/')?;
        let (first, last) = range.trim().split_once('-')?;
        let (first, last, total) = (number(first)?, number(last)?, number(total)?);
        let end = last.checked_add(1)?;
        (first < end && end <= total).then_some(ContentRange {
            range: first..end,
            total,
        })
    }
}

/// Digits only: `u64::from_str` would take a sign.
fn number(text: &str) -> Option<u64> {
    let text = text.trim();
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<(Range<u64>, u64)>) {
        let expected = expected.map(|(range, total)| ContentRange { range, total });
        assert_eq!(ContentRange::parse(value), expected, "{value}");
    }

    #[test]
    fn content_range_is_taken_literally() {
        check("bytes 0-9/10", Some((0..10, 10)));
        check("Bytes  2-2/10 ", Some((2..3, 10)));
        check("bytes 0-10/10", None);
        check("bytes 5-4/10", None);
        check("bytes 0-9/*", None);
        check("bytes */10", None);
        check("bytes +0-9/10", None);
        check("bytes 0-18446744073709551615/18446744073709551615", None);
        check("bytes 0-99999999999999999999/10", None);
        check("items 0-9/10", None);
        check("bytes=0-9/10", None);
        check("", None);
    }

    #[test]
    fn a_range_header_names_the_last_byte() {
        assert_eq!(header(&(0..10)).as_deref(), Some("bytes=0-9"));
        assert_eq!(header(&(7..8)).as_deref(), Some("bytes=7-7"));
        assert_eq!(header(&(8..8)), None);
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 9..8;
        assert_eq!(header(&reversed), None);
        assert_eq!(header(&(0..0)), None);
    }
}
