//! Bits of a deflate stream, lowest first.

/// Input, and how much of it is consumed.
pub(super) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn consumed(&self) -> usize {
        self.at
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Up to `len` bytes.
    pub(super) fn take(&mut self, len: usize) -> &'a [u8] {
        let rest = self.rest();
        let taken = rest.get(..len).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    /// Sets how much is left.
    pub(super) fn leave(&mut self, len: usize) {
        self.at = self.bytes.len().saturating_sub(len);
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }
}

/// Up to 63 bits that are consumed from the input and not from here; zeros above them.
#[derive(Clone, Copy, Default)]
pub(super) struct Bits {
    pub(super) value: u64,
    pub(super) count: u32,
}

impl Bits {
    /// The last `bits` bits of a byte, 0 to 7.
    pub(super) fn high(byte: u8, bits: u8) -> Self {
        let count = u32::from(bits.min(7));
        Self {
            value: u64::from(byte) >> (8 - count),
            count,
        }
    }

    /// The lowest `count` bits, at most 63.
    pub(super) fn low(value: u64, count: u32) -> Self {
        Self {
            value: value & ((1 << count) - 1),
            count,
        }
    }

    /// Brings `count` bits in, at most 56, and no byte that is not wanted for them. Whether they are there.
    pub(super) fn want(&mut self, count: u32, input: &mut Input<'_>) -> bool {
        while self.count < count {
            if !self.bring(input) {
                return false;
            }
        }
        true
    }

    /// Brings the next byte in, if there is one.
    pub(super) fn bring(&mut self, input: &mut Input<'_>) -> bool {
        let Some(byte) = input.next().filter(|_| self.count < 56) else {
            return false;
        };
        self.value |= u64::from(byte) << self.count;
        self.count += 8;
        true
    }

    /// The next bits, which are there.
    pub(super) fn peek(&self, count: u32) -> u64 {
        self.value & ((1 << count) - 1)
    }

    /// Takes the next bits, which are there.
    pub(super) fn take(&mut self, count: u32) -> u64 {
        let value = self.peek(count);
        self.value >>= count;
        self.count = self.count.saturating_sub(count);
        value
    }
}
