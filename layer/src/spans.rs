//! From missing spans to requests. Arithmetic only.

use std::ops::Range;

/// Neighbouring missing spans, fetched by one request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Gap {
    pub(crate) spans: Range<u32>,
    pub(crate) compressed: Range<u64>,
}

/// Joins neighbours among `missing` (ascending) as long as a gap has at most `limit` compressed bytes; a larger span is a gap of its own.
/// The compressed ranges of neighbours may share one byte.
pub(crate) fn gaps(
    missing: impl IntoIterator<Item = u32>,
    limit: u64,
    compressed: impl Fn(u32) -> Option<Range<u64>>,
) -> Vec<Gap> {
    let mut gaps: Vec<Gap> = Vec::new();
    for span in missing {
        let Some(range) = compressed(span) else {
            continue;
        };
        match gaps.last_mut() {
            Some(gap)
                if gap.spans.end == span
                    && range.end.saturating_sub(gap.compressed.start) <= limit =>
            {
                gap.spans.end = span.saturating_add(1);
                gap.compressed.end = range.end;
            }
            _ => gaps.push(Gap {
                spans: span..span.saturating_add(1),
                compressed: range,
            }),
        }
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Spans of 100 bytes; those with an odd number start in the last byte of the one before.
    fn compressed(span: u32) -> Option<Range<u64>> {
        let start = 10 + u64::from(span) * 100;
        (span < 10).then_some(start - u64::from(span % 2)..start + 100)
    }

    fn check(missing: &[u32], limit: u64, expected: &[(Range<u32>, Range<u64>)]) {
        let found: Vec<_> = gaps(missing.iter().copied(), limit, compressed)
            .into_iter()
            .map(|gap| (gap.spans, gap.compressed))
            .collect();
        assert_eq!(found, expected, "{missing:?} {limit}");
    }

    #[test]
    fn neighbours_are_one_request() {
        check(&[], 1000, &[]);
        check(&[0], 1000, &[(0..1, 10..110)]);
        check(&[0, 1], 1000, &[(0..2, 10..210)]);
        check(&[1, 2], 1000, &[(1..3, 109..310)]);
        check(&[0, 2], 1000, &[(0..1, 10..110), (2..3, 210..310)]);
    }

    #[test]
    fn requests_are_bounded() {
        check(&[0, 1, 2], 200, &[(0..2, 10..210), (2..3, 210..310)]);
        check(
            &[0, 1, 2],
            199,
            &[(0..1, 10..110), (1..2, 109..210), (2..3, 210..310)],
        );
        check(&[0, 1], 0, &[(0..1, 10..110), (1..2, 109..210)]);
    }

    proptest! {
        #[test]
        fn every_missing_span_is_fetched_once(missing: Vec<bool>, limit in 0u64..500) {
            let missing: Vec<u32> =
                (0..10).zip(missing).filter(|(_, it)| *it).map(|(span, _)| span).collect();
            let gaps = gaps(missing.iter().copied(), limit, compressed);
            let fetched: Vec<u32> = gaps.iter().flat_map(|gap| gap.spans.clone()).collect();
            prop_assert_eq!(fetched, missing);
            for gap in gaps {
                let bytes = gap.compressed.end - gap.compressed.start;
                prop_assert!(bytes <= limit || gap.spans.len() == 1);
                for span in gap.spans {
                    let range = compressed(span).unwrap();
                    prop_assert!(gap.compressed.start <= range.start && range.end <= gap.compressed.end);
                }
            }
        }
    }
}
