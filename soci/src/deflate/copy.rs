//! Repeating what the output holds already.

use super::Invalid;

/// Bytes copied at a time.
const WIDE: usize = 32;
const NARROW: usize = 8;

/// Writes `length` bytes, at most 258, at `at`: those that lie `distance` back, not before `start`. There is
/// room for them and some more.
pub(super) fn repeat(
    buffer: &mut [u8],
    start: usize,
    at: usize,
    distance: usize,
    length: usize,
) -> Result<(), Invalid> {
    let from = at.checked_sub(distance).filter(|from| *from >= start);
    let from = from.ok_or("a distance reaches back too far")?;
    let buffer = buffer.get_mut(from..).unwrap_or_default();
    let end = distance + length;
    if distance >= WIDE {
        chunks::<WIDE>(buffer, distance, end);
    } else if distance >= NARROW {
        chunks::<NARROW>(buffer, distance, end);
    } else {
        // Each round doubles what can be copied at once.
        let mut known = distance;
        while known < NARROW.min(end) {
            let (pattern, free) = buffer.split_at_mut_checked(known).unwrap_or_default();
            free.iter_mut()
                .zip(pattern)
                .for_each(|(to, from)| *to = *from);
            known *= 2;
        }
        chunks::<NARROW>(buffer, known, end);
    }
    Ok(())
}

/// Fills `buffer[at..end]`, or somewhat more, with what is `at` bytes before, so many bytes at a time.
#[inline(always)]
fn chunks<const N: usize>(buffer: &mut [u8], at: usize, end: usize) {
    let mut to = at;
    while to < end {
        let Some((before, free)) = buffer.split_at_mut_checked(to) else {
            return;
        };
        let chunk = before
            .get(to - at..)
            .and_then(|rest| rest.first_chunk::<N>());
        let (Some(chunk), Some(free)) = (chunk, free.first_chunk_mut::<N>()) else {
            return;
        };
        *free = *chunk;
        to += N;
    }
}
