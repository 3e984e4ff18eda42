//! What was known of an image and what one more start has read, put together.

use soci::profile::Profile;

/// `shipped` came with the image's index and counts for the layers of which nothing is stored.
///
/// A start that is not `fresh` found some of its pages in the kernel's cache and did not ask for them: it adds what
/// it read, but does not count as a start in which the rest was not needed.
pub(super) fn merged(
    stored: Option<Profile>,
    shipped: &Profile,
    start: &Profile,
    fresh: bool,
) -> Profile {
    let Some(mut profile) = stored.or_else(|| (!shipped.is_empty()).then(Profile::new)) else {
        return start.clone();
    };
    for (layer, reads) in shipped.layers() {
        if profile.layer(layer).is_none() {
            profile.insert(layer.clone(), reads.clone());
        }
    }
    if fresh {
        profile.merge(start);
        return profile;
    }
    for (layer, reads) in start.layers() {
        let mut all = profile.layer(layer).cloned().unwrap_or_default();
        all.merge(reads);
        profile.insert(layer.clone(), all);
    }
    profile
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::image::Digest;
    use soci::profile::{FirstRead, LayerProfile};

    /// A profile of megabytes, by layer.
    fn profile(reads: &[(&str, u64)]) -> Profile {
        let mut profile = Profile::new();
        for (layer, place) in reads {
            let layer = digest(layer);
            let read = FirstRead {
                tar: place << 20..(place << 20) + 4096,
                at_ms: 0,
            };
            let mut all = profile.layer(&layer).cloned().unwrap_or_default();
            all.merge(&LayerProfile::new([read]));
            profile.insert(layer, all);
        }
        profile
    }

    fn digest(letter: &str) -> Digest {
        format!("sha256:{}", letter.repeat(64)).parse().unwrap()
    }

    fn places(profile: &Profile) -> Vec<(String, u64)> {
        let mut places: Vec<_> = profile
            .layers()
            .flat_map(|(layer, reads)| {
                let letter = layer.digest()[..1].to_owned();
                let reads = reads.reads().iter();
                reads.map(move |read| (letter.clone(), read.tar.start >> 20))
            })
            .collect();
        places.sort();
        places
    }

    #[track_caller]
    fn check(
        stored: Option<&[(&str, u64)]>,
        shipped: &[(&str, u64)],
        start: &[(&str, u64)],
        expected: &[(&str, u64)],
        runs: [u32; 2],
    ) {
        for (fresh, runs) in [true, false].into_iter().zip(runs) {
            let merged = merged(
                stored.map(profile),
                &profile(shipped),
                &profile(start),
                fresh,
            );
            let expected: Vec<_> = expected
                .iter()
                .map(|(l, p)| ((*l).to_owned(), *p))
                .collect();
            assert_eq!(places(&merged), expected);
            assert_eq!(merged.runs(), runs, "fresh: {fresh}");
        }
    }

    #[test]
    fn a_first_start_is_all_that_is_known() {
        check(
            None,
            &[],
            &[("a", 1), ("b", 2)],
            &[("a", 1), ("b", 2)],
            [1, 1],
        );
    }

    #[test]
    fn starts_add_up_and_only_fresh_ones_count() {
        let stored: &[_] = &[("a", 1), ("a", 7)];
        check(
            Some(stored),
            &[],
            &[("a", 1), ("b", 2)],
            &[("a", 1), ("a", 7), ("b", 2)],
            [2, 1],
        );
    }

    #[test]
    fn what_came_with_the_index_counts_where_nothing_was_learnt() {
        check(
            None,
            &[("a", 3)],
            &[("a", 1)],
            &[("a", 1), ("a", 3)],
            [2, 1],
        );
        let stored: &[_] = &[("a", 1)];
        check(
            Some(stored),
            &[("a", 3), ("b", 4)],
            &[("a", 1)],
            &[("a", 1), ("b", 4)],
            [2, 1],
        );
    }

    #[test]
    fn any_number_of_starts_from_the_page_cache_wears_nothing_out() {
        let first = profile(&[("a", 1), ("b", 5)]);
        let (mut warm, mut cold) = (first.clone(), first.clone());
        for _ in 0..100 {
            let start = profile(&[("a", 9)]);
            warm = merged(Some(warm), &Profile::new(), &start, false);
            cold = merged(Some(cold), &Profile::new(), &start, true);
        }
        assert_eq!(
            places(&warm),
            [
                ("a".to_owned(), 1),
                ("a".to_owned(), 9),
                ("b".to_owned(), 5)
            ]
        );
        assert_eq!(
            places(&cold),
            [("a".to_owned(), 9)],
            "what is not read any more is forgotten"
        );
    }
}
