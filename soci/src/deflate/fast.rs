//! Many symbols without a look at the ends of input and output, as long as both are far.

use super::bits::{Bits, Input};
use super::codes::{Codes, Entry};
use super::copy::repeat;
use super::{Invalid, MARGIN, NO_DISTANCE, Output};

/// Matches up to this length are copied without a loop, if they do not overlap within a word.
const CHUNK: usize = 32;
const WORD: usize = 8;

/// Decodes symbols until the block, the input or the room comes near its end.
pub(super) fn decode(
    codes: &Codes,
    bits: &mut Bits,
    input: &mut Input<'_>,
    output: &mut Output<'_>,
) -> Result<(), Invalid> {
    let mut reader = Reader {
        value: bits.value,
        count: bits.count,
        rest: input.rest(),
    };
    let decoded = symbols(codes, &mut reader, output);
    // Whole bytes go back, but for those that an earlier piece of input left here.
    let count = reader.count & 63;
    let brought = input.rest().len() - reader.rest.len();
    let whole = usize::try_from(count / 8).unwrap_or(0).min(brought);
    input.leave(reader.rest.len() + whole);
    *bits = Bits::low(reader.value, count - u32::try_from(8 * whole).unwrap_or(0));
    decoded
}

struct Reader<'a> {
    value: u64,
    count: u32,
    rest: &'a [u8],
}

impl Reader<'_> {
    /// Brings at least 56 bits in.
    #[inline(always)]
    fn refill(&mut self) -> Option<()> {
        let word = self.rest.first_chunk::<8>()?;
        self.value |= u64::from_le_bytes(*word).wrapping_shl(self.count);
        let bytes = (self.count ^ 63) >> 3 & 7;
        self.rest = self.rest.get(bytes as usize..)?;
        self.count = self.count & 63 | 56;
        Some(())
    }

    /// Takes the bits of an entry.
    #[inline(always)]
    fn take(&mut self, entry: Entry) {
        self.value = self.value.wrapping_shr(entry.shift());
        self.count = self.count.wrapping_sub(entry.shift());
    }
}

#[inline(never)]
fn symbols(codes: &Codes, from: &mut Reader<'_>, output: &mut Output<'_>) -> Result<(), Invalid> {
    let mut reader = Reader { ..*from };
    let result = run(codes, &mut reader, output);
    *from = reader;
    result
}

/// After an error neither reader nor output count.
///
/// What comes next is looked up before bits are refilled and before bytes are copied, so that neither is waited
/// for. Of the 56 bits after a refill, two literals and a length take 42 at most, three literals 33, a distance
/// 28; so there are always enough left to look the next one up.
#[inline(always)]
fn run(codes: &Codes, reader: &mut Reader<'_>, output: &mut Output<'_>) -> Result<(), Invalid> {
    let Output {
        ref mut buffer,
        start,
        ..
    } = *output;
    let mut at = output.at;
    if reader.refill().is_none() {
        return Ok(());
    }
    let mut entry = codes.litlen(reader.value);
    loop {
        let room = buffer.get_mut(at..);
        let Some([first, second, third, ..]) =
            room.and_then(|free| free.first_chunk_mut::<MARGIN>())
        else {
            break;
        };
        if entry.is_literal() {
            reader.take(entry);
            *first = entry.literal();
            at = at.wrapping_add(1);
            entry = codes.litlen(reader.value);
            if entry.is_literal() {
                reader.take(entry);
                *second = entry.literal();
                at = at.wrapping_add(1);
                entry = codes.litlen(reader.value);
                if entry.is_literal() {
                    reader.take(entry);
                    *third = entry.literal();
                    at = at.wrapping_add(1);
                    entry = codes.litlen(reader.value);
                    if reader.refill().is_none() {
                        break;
                    }
                    continue;
                }
            }
        }
        let before = (reader.value, reader.count);
        if !entry.is_number() {
            let is_table = entry.is_table();
            if is_table {
                reader.take(entry);
                entry = codes.litlen_further(entry, before.0);
            }
            if is_table && entry.is_literal() {
                reader.take(entry);
                if let Some(place) = buffer.get_mut(at) {
                    *place = entry.literal();
                }
                at = at.wrapping_add(1);
                if reader.refill().is_none() {
                    break;
                }
                entry = codes.litlen(reader.value);
                continue;
            }
            if !entry.is_number() {
                // The end of the block, or an invalid code.
                (reader.value, reader.count) = before;
                break;
            }
        }
        let length = entry.value(reader.value);
        reader.take(entry);
        let mut far = codes.distance(reader.value);
        if reader.refill().is_none() {
            (reader.value, reader.count) = before;
            break;
        }
        if !far.is_number() {
            let further = codes.distance_further(far, reader.value);
            if !far.is_table() || !further.is_number() {
                return Err(NO_DISTANCE);
            }
            reader.take(far);
            far = further;
        }
        let distance = far.value(reader.value);
        reader.take(far);
        entry = codes.litlen(reader.value);
        let is_near_end = reader.refill().is_none();

        let source = at.wrapping_sub(distance);
        let area = buffer.get_mut(source..);
        let area = area.and_then(|area| area.get_mut(..distance + CHUNK));
        if let Some(area) = area
            && source >= start
            && distance >= WORD
            && length <= CHUNK
        {
            for word in (0..CHUNK).step_by(WORD) {
                area.copy_within(word..word + WORD, distance + word);
            }
        } else {
            repeat(buffer, start, at, distance, length)?;
        }
        at = at.wrapping_add(length);
        if is_near_end {
            break;
        }
    }
    output.at = at;
    Ok(())
}
