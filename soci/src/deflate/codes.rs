//! Huffman codes as tables: the next bits are the index of what they stand for.

use super::Invalid;

/// Bits that find most lengths and literals at once, and distances.
pub(super) const LITLEN_BITS: u8 = 11;
pub(super) const DISTANCE_BITS: u8 = 9;
/// A table of codes up to 15 bits has no more entries than this (zlib's `enough` counts 2 342 and 592), in powers
/// of two so that masked indices are within.
const LITLENS: usize = 4096;
const DISTANCES: usize = 1024;
/// Longest code.
const MAX_LEN: usize = 15;

/// Symbols of literals and lengths, the end of the block among them.
pub(super) const MAX_LITLENS: usize = 288;
pub(super) const MAX_DISTANCES: usize = 32;

const END_OF_BLOCK: usize = 256;

const LENGTH_BASES: [usize; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131,
    163, 195, 227, 258,
];
const LENGTH_EXTRA: [u8; 29] = [
    0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0,
];
const DISTANCE_BASES: [usize; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537,
    2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577,
];

/// What the next bits stand for: bits to take (0..6), kind (6..8), length of the code without its extra bits
/// (8..16), value (16..32).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Entry(u32);

impl Entry {
    const LITERAL: u32 = 1 << 7;
    /// A length or a distance.
    const NUMBER: u32 = 1 << 6;
    /// Values of something else that are not the start of a further table; such a table starts behind the first.
    const INVALID: u32 = 0;
    const END: u32 = 1;

    fn of_byte(byte: u32) -> Self {
        Self(Self::LITERAL | byte << 16)
    }

    /// A length or a distance with extra bits.
    pub(super) fn number(base: usize, extra: u8) -> Self {
        let base = u32::try_from(base).unwrap_or(0);
        Self(Self::NUMBER | base << 16 | u32::from(extra))
    }

    fn end() -> Self {
        Self(Self::END << 16)
    }

    /// Whatever the bits are: one must be there to see that they are wrong.
    const NONE: Self = Self(Self::INVALID << 16 | 1);

    /// A further table: `bits` more bits are its index.
    fn table(start: usize, root: u8, bits: u8) -> Self {
        let start = u32::try_from(start).unwrap_or(0);
        Self(start << 16 | u32::from(bits) << 8 | u32::from(root))
    }

    /// With a code of so many bits.
    fn coded(self, len: u8) -> Self {
        Self(self.0 + u32::from(len) + (u32::from(len) << 8))
    }

    #[inline(always)]
    pub(super) fn bits(self) -> u32 {
        self.0 & 0x3f
    }

    /// The same in its last six bits, which are all that shifts heed.
    #[inline(always)]
    pub(super) fn shift(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub(super) fn is_literal(self) -> bool {
        self.0 & Self::LITERAL != 0
    }

    #[inline(always)]
    pub(super) fn is_number(self) -> bool {
        self.0 & Self::NUMBER != 0
    }

    pub(super) fn is_end(self) -> bool {
        self.0 >> 16 == Self::END
    }

    /// Whether it is [`Entry::table`], given that it is something else.
    pub(super) fn is_table(self) -> bool {
        self.0 >> 16 > Self::END
    }

    #[inline(always)]
    pub(super) fn literal(self) -> u8 {
        let [_, _, byte, _] = self.0.to_le_bytes();
        byte
    }

    /// A length or distance: its base, and the extra bits of `bits` added.
    #[inline(always)]
    pub(super) fn value(self, bits: u64) -> usize {
        let taken = bits & 1_u64.wrapping_shl(self.0).wrapping_sub(1);
        let extra = taken.wrapping_shr(self.0 >> 8);
        low(u64::from(self.0 >> 16).wrapping_add(extra), 0xffff)
    }

    /// Where in a further table the bits after `root` lead.
    #[inline(always)]
    pub(super) fn further(self, bits: u64) -> usize {
        let mask = 1_u64.wrapping_shl(self.0 >> 8 & 0x1f).wrapping_sub(1);
        low(
            u64::from(self.0 >> 16).wrapping_add(bits.wrapping_shr(self.bits()) & mask),
            0xffff,
        )
    }
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "masks have 16 bits at most"
)]
#[inline(always)]
fn low(bits: u64, mask: u64) -> usize {
    (bits & mask) as usize
}

/// The codes of one block.
pub(super) struct Codes {
    litlen: [Entry; LITLENS],
    distance: [Entry; DISTANCES],
    is_fixed: bool,
}

impl Default for Codes {
    fn default() -> Self {
        Self {
            litlen: [Entry::NONE; LITLENS],
            distance: [Entry::NONE; DISTANCES],
            is_fixed: false,
        }
    }
}

impl Codes {
    /// What a dynamic block says.
    pub(super) fn set(&mut self, (litlens, distances): (&[u8], &[u8])) -> Result<(), Invalid> {
        self.is_fixed = false;
        if litlens.get(END_OF_BLOCK).is_none_or(|len| *len == 0) {
            return Err("a block has no end");
        }
        fill(&mut self.litlen, LITLEN_BITS, litlens, litlen)
            .ok_or("a block's codes of literals and lengths are no code")?;
        fill(&mut self.distance, DISTANCE_BITS, distances, distance)
            .ok_or("a block's codes of distances are no code")?;
        Ok(())
    }

    pub(super) fn set_fixed(&mut self) -> Result<(), Invalid> {
        if self.is_fixed {
            return Ok(());
        }
        let mut lens = [8; MAX_LITLENS];
        for (symbol, len) in lens.iter_mut().enumerate() {
            *len = match symbol {
                144..256 => 9,
                256..280 => 7,
                _ => 8,
            };
        }
        self.set((&lens, &[5; MAX_DISTANCES]))?;
        self.is_fixed = true;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn litlen(&self, bits: u64) -> Entry {
        let index = low(bits, (1 << LITLEN_BITS) - 1);
        self.litlen.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn litlen_further(&self, entry: Entry, bits: u64) -> Entry {
        let index = entry.further(bits) & (LITLENS - 1);
        self.litlen.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn distance(&self, bits: u64) -> Entry {
        let index = low(bits, (1 << DISTANCE_BITS) - 1);
        self.distance.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn distance_further(&self, entry: Entry, bits: u64) -> Entry {
        let index = entry.further(bits) & (DISTANCES - 1);
        self.distance.get(index).copied().unwrap_or_default()
    }
}

fn litlen(symbol: usize) -> Entry {
    match symbol {
        0..END_OF_BLOCK => Entry::of_byte(u32::try_from(symbol).unwrap_or(0)),
        END_OF_BLOCK => Entry::end(),
        _ => {
            let index = symbol - END_OF_BLOCK - 1;
            let number = LENGTH_BASES.get(index).zip(LENGTH_EXTRA.get(index));
            // The fixed code has two symbols more than there are lengths.
            number.map_or(Entry(0), |(base, extra)| Entry::number(*base, *extra))
        }
    }
}

fn distance(symbol: usize) -> Entry {
    let extra = u8::try_from(symbol / 2).unwrap_or(0).saturating_sub(1);
    let base = DISTANCE_BASES.get(symbol);
    base.map_or(Entry(0), |base| Entry::number(*base, extra))
}

/// The table of the code with these lengths, with `root` bits looked up first; `None` if they are no code.
///
/// As in zlib, every code must be used, unless there is none or only one, of one bit.
pub(super) fn fill(
    table: &mut [Entry],
    root: u8,
    lens: &[u8],
    entry: impl Fn(usize) -> Entry,
) -> Option<()> {
    let mut counts = [0_u16; MAX_LEN + 1];
    for len in lens {
        *counts.get_mut(usize::from(*len))? += 1;
    }
    let longest = counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let mut free = 1_u32;
    let mut ends = [0_u16; MAX_LEN + 2];
    for (len, count) in counts.iter().enumerate().skip(1) {
        free = (free << 1).checked_sub(u32::from(*count))?;
        *ends.get_mut(len + 1)? = ends.get(len)? + count;
    }
    if free > 0 && longest > 1 {
        return None;
    }
    let root_len = 1_usize << root;
    if free > 0 {
        table.get_mut(..root_len)?.fill(Entry::NONE);
    }

    let mut sorted = [0_u16; MAX_LITLENS];
    for (symbol, len) in (0..).zip(lens).filter(|(_, len)| **len > 0) {
        let at = ends.get_mut(usize::from(*len))?;
        *sorted.get_mut(usize::from(*at))? = symbol;
        *at += 1;
    }
    let used = usize::from(*ends.get(MAX_LEN)?);

    // The code of the next symbol, its first bit lowest.
    let mut code = 0_usize;
    let mut next = root_len;
    let mut current: Option<(usize, usize, u8)> = None;
    for symbol in sorted.get(..used)? {
        let symbol = usize::from(*symbol);
        let len = *lens.get(symbol)?;
        let value = entry(symbol).coded(len);
        if len <= root {
            let places = table.get_mut(code..root_len)?.iter_mut();
            places.step_by(1 << len).for_each(|place| *place = value);
        } else {
            let prefix = code & (root_len - 1);
            let (start, bits) = match current {
                Some((of, start, bits)) if of == prefix => (start, bits),
                _ => {
                    let bits = further_bits(&counts, root, len, longest);
                    *table.get_mut(prefix)? = Entry::table(next, root, bits);
                    current = Some((prefix, next, bits));
                    let start = next;
                    next += 1 << bits;
                    (start, bits)
                }
            };
            let short = value.shortened(root);
            let places = table.get_mut(start + (code >> root)..start + (1 << bits))?;
            places
                .iter_mut()
                .step_by(1 << (len - root))
                .for_each(|place| *place = short);
        }
        *counts.get_mut(usize::from(len))? -= 1;
        code = successor(code, len);
    }
    Some(())
}

impl Entry {
    /// For a further table: `root` bits are taken before.
    fn shortened(self, root: u8) -> Self {
        let root = u32::from(root);
        Self(self.0 - root - (root << 8))
    }
}

/// Bits of the further table that starts with a code of `len` bits; `counts` are those not in a table yet.
fn further_bits(counts: &[u16; MAX_LEN + 1], root: u8, len: u8, longest: usize) -> u8 {
    let mut bits = len - root;
    let mut free = 1_u32 << bits;
    while usize::from(root + bits) < longest {
        let count = counts.get(usize::from(root + bits)).copied();
        free = free.saturating_sub(u32::from(count.unwrap_or(0)));
        if free == 0 {
            break;
        }
        bits += 1;
        free <<= 1;
    }
    bits
}

/// The next code of the same length, counted from the highest bit of a code, which is stored lowest.
fn successor(code: usize, len: u8) -> usize {
    let mut bit = 1_usize << (len - 1);
    while code & bit != 0 {
        bit >>= 1;
    }
    match bit {
        0 => 0,
        _ => (code & (bit - 1)) + bit,
    }
}
