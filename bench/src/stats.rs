//! What several runs say together.

use serde::Serialize;

/// The middle one, and the ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// Of nothing there is nothing to say.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    Some(Spread {
        median: percentile(&values, 0.5)?,
        min: *values.first()?,
        max: *values.last()?,
    })
}

/// Of sorted values: between the two nearest ones.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let place = share.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "0..len"
    )]
    let below = place.floor() as usize;
    let low = *sorted.get(below)?;
    let high = sorted.get(below + 1).copied().unwrap_or(low);
    Some(low + (high - low) * (place - below as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        let all = spread([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            all,
            Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            }
        );
        assert_eq!(spread([7.0]).unwrap().median, 7.0);
        assert_eq!(spread([]), None);
        assert_eq!(spread([f64::NAN]), None);
    }

    #[test]
    fn percentiles_reach_from_end_to_end() {
        let sorted: Vec<f64> = (0..=100).map(f64::from).collect();
        for share in [0.0, 0.5, 0.99, 1.0] {
            assert_eq!(percentile(&sorted, share), Some(share * 100.0));
        }
        assert_eq!(percentile(&[], 0.5), None);
    }
}
