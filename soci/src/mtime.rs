//! Modification times as zTOCs (RFC 3339) and PAX headers (decimal seconds) write them.

/// Seconds since 1970 and the nanoseconds after them, also for times before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mtime {
    pub seconds: i64,
    pub nanos: u32,
}

const YEAR_0: i64 = -62_167_219_200;
const YEAR_10000: i64 = 253_402_300_800;
/// Bytes of a time with nine digits of a fraction.
const LONGEST: usize = 30;

impl Mtime {
    /// `2006-01-02T15:04:05[.fraction](Z|±hh:mm)`, the fraction truncated to nanoseconds.
    pub(crate) fn from_rfc3339(text: &[u8]) -> Option<Self> {
        let (clock, rest) = text.split_first_chunk::<19>()?;
        let [
            y1,
            y2,
            y3,
            y4,
            b'-',
            o1,
            o2,
            b'-',
            d1,
            d2,
            b'T',
            h1,
            h2,
            b':',
            m1,
            m2,
            b':',
            s1,
            s2,
        ] = *clock
        else {
            return None;
        };
        let year = i64::from(number(&[y1, y2, y3, y4])?);
        let (month, day) = (number(&[o1, o2])?, number(&[d1, d2])?);
        if day == 0 || day > days_in_month(year, month)? {
            return None;
        }
        let seconds_of_day = clock_seconds(number(&[h1, h2])?, number(&[m1, m2])?)?
            + i64::from(number(&[s1, s2]).filter(|s| *s < 60)?);

        let (nanos, zone) = match rest.split_first() {
            Some((b'.', rest)) => {
                let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
                let (fraction, zone) = rest.split_at_checked(digits)?;
                (nanos(fraction).filter(|_| digits > 0)?, zone)
            }
            _ => (0, rest),
        };
        let east = match *zone {
            [b'Z'] => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let offset = clock_seconds(number(&[h1, h2])?, number(&[m1, m2])?)?;
                if sign == b'+' { offset } else { -offset }
            }
            _ => return None,
        };
        let seconds = days_since_1970(year, month, day) * 86_400 + seconds_of_day - east;
        Some(Self { seconds, nanos })
    }

    /// `[-]seconds[.fraction]`, the fraction truncated to nanoseconds and carrying the sign.
    pub(crate) fn from_pax(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = whole.parse().ok()?;
        let nanos = nanos(fraction.as_bytes())?;
        if nanos > 0 && whole.starts_with('-') {
            Some(Self {
                seconds: seconds.checked_sub(1)?,
                nanos: 1_000_000_000 - nanos,
            })
        } else {
            Some(Self { seconds, nanos })
        }
    }

    /// The time in UTC, without trailing zeros in the fraction. `None` outside the years 0 to 9999.
    pub(crate) fn to_rfc3339(self) -> Option<Vec<u8>> {
        if !self.is_writable() {
            return None;
        }
        let (year, month, day) = date(self.seconds.div_euclid(86_400));
        let of_day = self.seconds.rem_euclid(86_400);
        let mut text = Vec::with_capacity(LONGEST);
        push_digits(&mut text, year, 4);
        for (mark, number) in [
            (b'-', month),
            (b'-', day),
            (b'T', of_day / 3600),
            (b':', of_day / 60 % 60),
            (b':', of_day % 60),
        ] {
            text.push(mark);
            push_digits(&mut text, number, 2);
        }
        if self.nanos > 0 {
            text.push(b'.');
            push_digits(&mut text, self.nanos.into(), 9);
            let zeros = text
                .iter()
                .rev()
                .take_while(|digit| **digit == b'0')
                .count();
            text.truncate(text.len() - zeros);
        }
        text.push(b'Z');
        Some(text)
    }

    /// Whether RFC 3339 can write this time; zTOC builders leave the field empty otherwise.
    pub(crate) fn is_writable(self) -> bool {
        (YEAR_0..YEAR_10000).contains(&self.seconds)
    }
}

/// The last `count` digits of a number that is not negative.
fn push_digits(text: &mut Vec<u8>, number: i64, count: u32) {
    for place in (0..count).rev() {
        let digit = number / 10_i64.pow(place) % 10;
        text.push(b'0' + u8::try_from(digit).unwrap_or(0));
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |n, d| match d {
        b'0'..=b'9' => Some(n * 10 + u32::from(d - b'0')),
        _ => None,
    })
}

fn nanos(fraction: &[u8]) -> Option<u32> {
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let padded = fraction.iter().copied().chain(std::iter::repeat(b'0'));
    Some(padded.take(9).fold(0, |n, d| n * 10 + u32::from(d - b'0')))
}

fn clock_seconds(hours: u32, minutes: u32) -> Option<i64> {
    (hours < 24 && minutes < 60).then(|| i64::from(hours * 3600 + minutes * 60))
}

fn days_in_month(year: i64, month: u32) -> Option<u32> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Counts in years that begin in March, so that the leap day is the last of its year.
fn days_since_1970(year: i64, month: u32, day: u32) -> i64 {
    let month = i64::from(month);
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + i64::from(day) - 1 - 719_468
}

/// Year, month and day; the inverse of [`days_since_1970`], and in the same kind of years.
fn date(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 146_097;
    let days = days + 719_468;
    let (cycle, day) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (day - day / 1460 + day / 36_524 - day / (CYCLE - 1)) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (day * 5 + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let year = year + cycle * 400;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(i64, u32)>) {
        let expected = expected.map(|(seconds, nanos)| Mtime { seconds, nanos });
        assert_eq!(Mtime::from_rfc3339(text.as_bytes()), expected, "{text}");
    }

    #[test]
    fn times_of_any_zone_name_the_same_instant() {
        check("2023-11-14T22:13:20Z", Some((1_700_000_000, 0)));
        check("2023-11-15T03:43:20+05:30", Some((1_700_000_000, 0)));
        check("2023-11-14T14:13:20-08:00", Some((1_700_000_000, 0)));
    }

    #[test]
    fn the_calendar_holds_at_its_edges() {
        check("1970-01-01T00:00:00Z", Some((0, 0)));
        check("1969-12-31T23:59:59.999999999Z", Some((-1, 999_999_999)));
        check("2000-02-29T00:00:00Z", Some((951_782_400, 0)));
        check("1900-02-29T00:00:00Z", None);
        check("0000-01-01T00:00:00Z", Some((YEAR_0, 0)));
        check("9999-12-31T23:59:59Z", Some((YEAR_10000 - 1, 0)));
        check("0000-03-01T00:00:00Z", Some((YEAR_0 + 60 * 86_400, 0)));
    }

    #[test]
    fn fractions_are_truncated_not_rounded() {
        check("1970-01-01T00:00:00.5Z", Some((0, 500_000_000)));
        check("1970-01-01T00:00:00.0000000019Z", Some((0, 1)));
    }

    #[test]
    fn unreadable_times_are_absent() {
        for text in [
            "",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:60Z",
            "1970-00-01T00:00:00Z",
            "1970-01-00T00:00:00Z",
            "1970-01-01T00:00:00+0100",
            "1970-01-01T00:00:00ZZ",
            "10000-01-01T00:00:00Z",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn pax_fractions_carry_the_sign() {
        for (text, expected) in [
            ("1350244992.023960108", Some((1_350_244_992, 23_960_108))),
            ("-1.3", Some((-2, 700_000_000))),
            ("-0.3", Some((-1, 700_000_000))),
            ("-1.0", Some((-1, 0))),
            ("1.", Some((1, 0))),
            ("0.0000000019", Some((0, 1))),
            (".3", None),
            ("1.2x", None),
            ("", None),
            ("-9223372036854775808.1", None),
        ] {
            let expected = expected.map(|(seconds, nanos)| Mtime { seconds, nanos });
            assert_eq!(Mtime::from_pax(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn times_are_written_as_they_are_read() {
        let text = |seconds, nanos| {
            let text = Mtime { seconds, nanos }.to_rfc3339()?;
            Some(String::from_utf8(text).unwrap())
        };
        assert_eq!(text(0, 0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(
            text(-1, 999_999_000).as_deref(),
            Some("1969-12-31T23:59:59.999999Z")
        );
        assert_eq!(
            text(0, 10).as_deref(),
            Some("1970-01-01T00:00:00.00000001Z")
        );
        assert_eq!(text(YEAR_0 - 1, 0), None);
        assert_eq!(text(YEAR_10000, 0), None);
        // A prime number of seconds, so that all fields vary.
        for seconds in (YEAR_0..YEAR_10000).step_by(49_999_991) {
            let time = Mtime { seconds, nanos: 1 };
            let text = time.to_rfc3339().unwrap();
            assert_eq!(
                Mtime::from_rfc3339(&text),
                Some(time),
                "{}",
                text.escape_ascii()
            );
        }
        let last = Mtime {
            seconds: YEAR_10000 - 1,
            nanos: 0,
        };
        assert_eq!(
            last.to_rfc3339().as_deref(),
            Some(&b"9999-12-31T23:59:59Z"[..])
        );
    }
}
