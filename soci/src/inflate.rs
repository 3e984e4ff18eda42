//! Raw inflate from a checkpoint in the middle of a gzip stream, across the members that follow.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use crate::gzip;

pub(crate) enum Fault {
    /// The input ended after this many bytes of output.
    Short(u64),
    Bad(&'static str),
}

/// Exactly `len` bytes, from the last `bits` bits of the first byte (0: from all of it) onwards.
pub(crate) fn from_checkpoint(
    compressed: &[u8],
    bits: u8,
    window: &[u8],
    len: u64,
) -> Result<Vec<u8>, Fault> {
    let len = usize::try_from(len).map_err(|_| Fault::Bad("it exceeds the address space"))?;
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut stream = Stream {
        decoder: Decompress::new(false),
        input: compressed,
    };
    if bits != 0 {
        let (shared, rest) = compressed.split_first().ok_or(Fault::Short(0))?;
        stream.input = rest;
        stream.prime(*shared, bits)?;
    }
    if !window.is_empty() {
        let preset = stream.decoder.set_dictionary(window);
        preset.map_err(|_| Fault::Bad("its window is not accepted"))?;
    }

    let mut output = vec![0; len];
    let mut filled = 0;
    // Start of the output of the member being read, once that lies in this span.
    let mut member = None;
    while let Some(free) = output.get_mut(filled..).filter(|free| !free.is_empty()) {
        let (written, status) = stream.read(free)?;
        filled += written;
        if filled == len {
            break;
        }
        match status {
            Status::StreamEnd => {
                let content = member.map(|start| output.get(start..filled).unwrap_or_default());
                stream.next_member(content, filled as u64)?;
                member = Some(filled);
            }
            // The decoder stops with room to spare only for want of input.
            Status::Ok | Status::BufError => return Err(Fault::Short(filled as u64)),
        }
    }
    Ok(output)
}

struct Stream<'a> {
    decoder: Decompress,
    input: &'a [u8],
}

impl Stream<'_> {
    /// Decodes until the input, the output or the member ends.
    fn read(&mut self, output: &mut [u8]) -> Result<(usize, Status), Fault> {
        let mut written = 0;
        loop {
            let free = output.get_mut(written..).unwrap_or_default();
            let (read_before, written_before) = (self.decoder.total_in(), self.decoder.total_out());
            let status = self
                .decoder
                .decompress(self.input, free, FlushDecompress::None);
            let status = status.map_err(|_| Fault::Bad("invalid deflate data"))?;
            let consumed = distance(read_before, self.decoder.total_in());
            let produced = distance(written_before, self.decoder.total_out());
            self.input = self.input.get(consumed..).unwrap_or_default();
            written += produced;
            let stuck = consumed == 0 && produced == 0;
            if status == Status::StreamEnd || stuck || written == output.len() {
                return Ok((written, status));
            }
        }
    }

    /// Steps over the trailer and the next member's header. `content` is what the member held, if all of
    /// it was seen; its checksum is known then.
    fn next_member(&mut self, content: Option<&[u8]>, filled: u64) -> Result<(), Fault> {
        let trailer = self.input.split_first_chunk::<8>();
        let (trailer, rest) = trailer.ok_or(Fault::Short(filled))?;
        if content.is_some_and(|content| trailer_of(content) != *trailer) {
            return Err(Fault::Bad("a gzip member does not match its checksum"));
        }
        if rest.is_empty() {
            return Err(Fault::Short(filled));
        }
        self.input = gzip::skip_header(rest).map_err(Fault::Bad)?;
        self.decoder.reset(false);
        Ok(())
    }

    /// Makes the decoder start with the last `bits` bits of a byte. Decoders take whole bytes, so empty
    /// blocks go first, as many as make their bits and ours fill bytes.
    fn prime(&mut self, shared: u8, bits: u8) -> Result<(), Fault> {
        let mut prefix = BitWriter::default();
        // Fixed blocks are 10 bits long; only one of odd length can make up for an odd rest.
        if bits % 2 == 1 {
            empty_dynamic_block(&mut prefix);
        }
        while !(prefix.len + u32::from(bits)).is_multiple_of(8) {
            empty_fixed_block(&mut prefix);
        }
        prefix.push(
            u32::from(shared.checked_shr(u32::from(8 - bits)).unwrap_or(0)),
            bits.into(),
        );

        self.decoder
            .decompress(&prefix.bytes, &mut [0], FlushDecompress::None)
            .map_err(|_| Fault::Bad("invalid deflate data"))?;
        if self.decoder.total_in() == prefix.bytes.len() as u64 && self.decoder.total_out() == 0 {
            Ok(())
        } else {
            Err(Fault::Bad("its first bits are not accepted"))
        }
    }
}

fn distance(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

/// CRC-32 and length, as a gzip member ends.
fn trailer_of(content: &[u8]) -> [u8; 8] {
    let mut crc = Crc::new();
    crc.update(content);
    let [c0, c1, c2, c3] = crc.sum().to_le_bytes();
    let [l0, l1, l2, l3] = crc.amount().to_le_bytes();
    [c0, c1, c2, c3, l0, l1, l2, l3]
}

/// Packs bits as deflate does, lowest first.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    len: u32,
}

impl BitWriter {
    fn push(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if value >> bit & 1 == 1
                && let Some(last) = self.bytes.last_mut()
            {
                *last |= 1 << (self.len % 8);
            }
            self.len += 1;
        }
    }
}

/// 10 bits: not final, fixed codes, end of block.
fn empty_fixed_block(to: &mut BitWriter) {
    to.push(0b010, 3);
    to.push(0, 7);
}

/// 93 bits: not final, codes of its own, end of block. Its only literal code is the end of block, one bit
/// long; the lengths are written with the code 0 -> `0`, 1 -> `10`, 18 (a run of zeros) -> `11`.
fn empty_dynamic_block(to: &mut BitWriter) {
    to.push(0b100, 3);
    to.push(0, 5); // 257 literal codes
    to.push(0, 5); // 1 distance code
    to.push(14, 4); // 18 lengths follow, in deflate's order: 16, 17, 18, 0, 8, …, 14, 1
    for length in [0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2] {
        to.push(length, 3);
    }
    for zeros in [138, 118] {
        to.push(0b11, 2);
        to.push(zeros - 11, 7);
    }
    to.push(0b01, 2); // end of block: length 1
    to.push(0, 1); // no distance code
    to.push(0, 1); // end of block
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes fixed-code blocks by hand, to have block boundaries at every bit offset.
    fn fixed_block(to: &mut BitWriter, last: bool, symbols: &[(u32, u32)]) {
        to.push(u32::from(last), 1);
        to.push(0b01, 2);
        for (code, len) in symbols.iter().chain(&[(0, 7)]) {
            // Codes go highest bit first, everything else lowest first.
            (0..*len).rev().for_each(|bit| to.push(code >> bit & 1, 1));
        }
    }

    /// A 9-bit literal.
    fn literal(byte: u8) -> (u32, u32) {
        (0b1_1001_0000 + u32::from(byte) - 144, 9)
    }

    /// Three bytes from `distance` 1 back: length code 257 and distance code 0.
    const REPEAT: [(u32, u32); 2] = [(1, 7), (0, 5)];

    fn check(literals: u8) -> u32 {
        let bytes: Vec<u8> = (0..literals).map(|n| 200 + n).collect();
        let mut stream = BitWriter::default();
        fixed_block(
            &mut stream,
            false,
            &bytes.iter().copied().map(literal).collect::<Vec<_>>(),
        );
        let boundary = stream.len;
        fixed_block(&mut stream, true, &[&REPEAT[..], &[literal(150)]].concat());

        let bits = boundary.next_multiple_of(8) - boundary;
        let from = usize::try_from(boundary / 8).unwrap();
        let mut window = vec![0; crate::spans::WINDOW - bytes.len()];
        window.extend_from_slice(&bytes);
        let span = from_checkpoint(&stream.bytes[from..], bits.try_into().unwrap(), &window, 4);
        let last = *bytes.last().unwrap();
        assert_eq!(span.ok(), Some(vec![last, last, last, 150]), "{bits} bits");
        bits
    }

    #[test]
    fn spans_start_at_any_bit_and_reach_back_into_their_window() {
        let mut offsets: Vec<u32> = (1..=8).map(check).collect();
        offsets.sort_unstable();
        assert_eq!(offsets, [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn an_empty_span_needs_no_input() {
        assert_eq!(from_checkpoint(&[], 3, &[], 0).ok(), Some(Vec::new()));
    }
}
