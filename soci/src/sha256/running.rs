//! SHA-256 of bytes that come in pieces, for two digests at a time.
//!
//! Each round of a digest waits for the one before. Two digests over the same bytes, block by block in turns, fill each
//! other's pauses: together they take half as long again as one.

use sha2::block_api::compress256;

use super::Sha256Bytes;

const BLOCK: usize = 64;
const START: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// A digest under way.
#[derive(Clone)]
pub(crate) struct Running {
    state: [u32; 8],
    /// Bytes so far; those that fill no block are in `open`.
    len: u64,
    open: [u8; BLOCK],
}

impl Default for Running {
    fn default() -> Self {
        Self {
            state: START,
            len: 0,
            open: [0; BLOCK],
        }
    }
}

impl Running {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = self.fill(bytes).as_chunks();
        compress256(&mut self.state, blocks);
        self.keep(rest);
    }

    /// Updates both with the same bytes.
    pub(crate) fn update_both(&mut self, other: &mut Self, bytes: &[u8]) {
        let (ours, rest) = self.fill(bytes).as_chunks();
        let (theirs, other_rest) = other.fill(bytes).as_chunks();
        for (our, their) in ours.iter().zip(theirs) {
            compress256(&mut self.state, std::slice::from_ref(our));
            compress256(&mut other.state, std::slice::from_ref(their));
        }
        // One may have a block more than the other.
        let both = ours.len().min(theirs.len());
        compress256(&mut self.state, ours.get(both..).unwrap_or_default());
        compress256(&mut other.state, theirs.get(both..).unwrap_or_default());
        self.keep(rest);
        other.keep(other_rest);
    }

    pub(crate) fn finish(mut self) -> Sha256Bytes {
        let bits = self.len.wrapping_mul(8).to_be_bytes();
        let open = self.open_len();
        self.update(&[0x80]);
        // The length ends a block.
        let zeros = (2 * BLOCK - 1 - bits.len() - open) % BLOCK;
        self.update([0; BLOCK].get(..zeros).unwrap_or_default());
        self.update(&bits);
        let mut sum = [0; 32];
        for (to, word) in sum.as_chunks_mut().0.iter_mut().zip(self.state) {
            *to = word.to_be_bytes();
        }
        sum
    }

    fn open_len(&self) -> usize {
        let len = self.len % BLOCK as u64;
        usize::try_from(len).unwrap_or(0)
    }

    /// Completes the open block, if there is one; what is left of the bytes, which begins a block.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let open = self.open_len();
        if open == 0 {
            self.len = self.len.wrapping_add(bytes.len() as u64);
            return bytes;
        }
        let (head, rest) = bytes.split_at_checked(BLOCK - open).unwrap_or((bytes, &[]));
        self.len = self.len.wrapping_add(bytes.len() as u64);
        let free = self.open.iter_mut().skip(open);
        free.zip(head).for_each(|(to, from)| *to = *from);
        if open + head.len() == BLOCK {
            compress256(&mut self.state, std::slice::from_ref(&self.open));
        }
        rest
    }

    /// Keeps the beginning of a block. Nothing where [`Running::fill`] has taken all.
    fn keep(&mut self, rest: &[u8]) {
        self.open
            .iter_mut()
            .zip(rest)
            .for_each(|(to, from)| *to = *from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256::sum;

    #[test]
    fn pieces_of_any_length_have_the_digest_of_the_whole() {
        let bytes: Vec<u8> = (0..700_u32).map(|n| n.to_le_bytes()[0] ^ 0x5a).collect();
        for first in 0..140 {
            for second in [0, 1, 55, 56, 63, 64, 65, 119, 120, 128, 300] {
                let (head, rest) = bytes.split_at(first);
                let (piece, tail) = rest.split_at(second);
                let mut one = Running::default();
                let mut other = Running::default();
                one.update(head);
                one.update_both(&mut other, piece);
                assert_eq!(other.clone().finish(), sum(piece), "{first} {second}");
                other.update_both(&mut one, tail);
                assert_eq!(one.finish(), sum(&bytes), "{first} {second}");
                assert_eq!(other.finish(), sum(rest), "{first} {second}");
            }
        }
    }

    #[test]
    fn padding_fits_every_length() {
        for len in 0..200 {
            let bytes = vec![7; len];
            let mut running = Running::default();
            running.update(&bytes);
            assert_eq!(running.finish(), sum(&bytes), "{len}");
        }
    }
}
