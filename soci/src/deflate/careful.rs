//! One symbol at a time, near the ends of input and output.

use super::bits::{Bits, Input};
use super::codes::{Codes, Entry};
use super::copy::repeat;
use super::{Invalid, NO_DISTANCE, Output, Stop};

pub(super) enum Step {
    BlockEnd,
    /// A symbol is decoded.
    More,
    Stop(Stop),
}

/// A symbol whose bits are all there.
enum Symbol {
    Literal(u8),
    Match { length: usize, distance: usize },
    End,
}

/// Decodes the next symbol. Brings no byte in that is not part of it.
pub(super) fn decode(
    codes: &Codes,
    bits: &mut Bits,
    input: &mut Input<'_>,
    output: &mut Output<'_>,
) -> Result<Step, Invalid> {
    if !output.has_room() {
        return Ok(Step::Stop(Stop::Room));
    }
    let (symbol, taken) = loop {
        match symbol(codes, *bits)? {
            Some(found) => break found,
            None if !bits.bring(input) => return Ok(Step::Stop(Stop::Input)),
            None => {}
        }
    };
    bits.take(taken);
    match symbol {
        Symbol::Literal(byte) => {
            if let Some(place) = output.buffer.get_mut(output.at) {
                *place = byte;
            }
            output.at += 1;
        }
        Symbol::Match { length, distance } => {
            repeat(output.buffer, output.start, output.at, distance, length)?;
            output.at += length;
        }
        Symbol::End => return Ok(Step::BlockEnd),
    }
    Ok(Step::More)
}

/// The next symbol and its number of bits; `None` if they are not all there.
fn symbol(codes: &Codes, bits: Bits) -> Result<Option<(Symbol, u32)>, Invalid> {
    let (entry, before) = resolve(codes.litlen(bits.value), |entry| {
        codes.litlen_further(entry, bits.value)
    });
    let taken = before + entry.bits();
    if taken > bits.count {
        return Ok(None);
    }
    if entry.is_literal() {
        return Ok(Some((Symbol::Literal(entry.literal()), taken)));
    }
    if !entry.is_number() {
        let is_end = entry.is_end();
        let end = is_end.then_some(Some((Symbol::End, taken)));
        return end.ok_or("an invalid code of a literal or length");
    }
    let length = entry.value(bits.value >> before);
    let rest = bits.value >> taken;
    let (entry, before) = resolve(codes.distance(rest), |entry| {
        codes.distance_further(entry, rest)
    });
    let all = taken + before + entry.bits();
    if all > bits.count {
        return Ok(None);
    }
    if !entry.is_number() {
        return Err(NO_DISTANCE);
    }
    let distance = entry.value(rest >> before);
    Ok(Some((Symbol::Match { length, distance }, all)))
}

/// Follows an entry into a further table; with the bits that takes.
fn resolve(entry: Entry, further: impl Fn(Entry) -> Entry) -> (Entry, u32) {
    if !entry.is_literal() && !entry.is_number() && entry.is_table() {
        (further(entry), entry.bits())
    } else {
        (entry, 0)
    }
}
