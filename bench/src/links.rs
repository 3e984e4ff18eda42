//! The links that are measured over, by name.

use std::time::Duration;

use harness::link::Shape;

/// A round trip and a bandwidth, as people say them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) round_trip: Duration,
    /// Bytes a second.
    pub(crate) rate: u64,
}

impl Named {
    pub(crate) fn shape(&self, options: &Options) -> Shape {
        Shape {
            delay: self.round_trip / 2,
            rate: self.rate,
            slow_start: options.slow_start,
            redirect: options.redirect,
        }
    }
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Let each connection begin with ten segments and double every round trip; without this the link does not
    /// model slow start
    #[arg(long)]
    pub(crate) slow_start: bool,
    /// Answer requests for blobs with a 307 to a second port
    #[arg(long)]
    pub(crate) redirect: bool,
}

/// `10ms/400mbit`, `5ms/1gbit`.
pub(crate) fn parse(text: &str) -> Result<Named, String> {
    let wrong = || {
        format!("{text}: a link is a round trip and a bandwidth, as in 10ms/400mbit or 5ms/1gbit")
    };
    let (round_trip, rate) = text.split_once('/').ok_or_else(wrong)?;
    let millis: u64 = round_trip
        .strip_suffix("ms")
        .and_then(|n| n.parse().ok())
        .ok_or_else(wrong)?;
    let rate = rate.to_ascii_lowercase();
    let (number, unit) = match (rate.strip_suffix("gbit"), rate.strip_suffix("mbit")) {
        (Some(number), _) => (number, 1_000_000_000),
        (None, Some(number)) => (number, 1_000_000),
        (None, None) => return Err(wrong()),
    };
    let bits = number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(unit))
        .filter(|bits| *bits >= 8)
        .ok_or_else(wrong)?;
    Ok(Named {
        name: text.to_owned(),
        round_trip: Duration::from_millis(millis),
        rate: bits / 8,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_called_what_they_are() {
        let link = parse("10ms/400mbit").unwrap();
        assert_eq!(
            (link.round_trip, link.rate),
            (Duration::from_millis(10), 50_000_000)
        );
        assert_eq!(parse("5ms/1gbit").unwrap().rate, 125_000_000);
        for wrong in [
            "",
            "10ms",
            "10/400mbit",
            "10ms/400",
            "10ms/0mbit",
            "ms/1gbit",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
