//! Compared with zlib-rs, stream by stream.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::{Inflate, MARGIN, Stop};

/// More than any stream here holds.
const ROOM: usize = 1 << 18;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }
}

/// How a stream ended: what it put out, or nothing where it is invalid.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Whole { output: Vec<u8>, consumed: usize },
    Short(Vec<u8>),
    Invalid,
}

/// Content with long and short matches, runs, text and noise.
fn content(random: &mut Random) -> Vec<u8> {
    let len = [0, 40, 700, 6_000, 90_000][random.below(5)];
    let mut bytes = Vec::with_capacity(len + 300);
    while bytes.len() < len {
        match random.below(5) {
            0 => bytes.extend(std::iter::repeat_n(random.byte(), 1 + random.below(300))),
            1 if !bytes.is_empty() => {
                let distance = 1 + random.below(bytes.len().min(33_000));
                for _ in 0..1 + random.below(280) {
                    bytes.push(bytes[bytes.len() - distance]);
                }
            }
            2 => bytes.extend((0..1 + random.below(60)).map(|_| b'a' + random.byte() % 7)),
            3 => bytes.extend((0..1 + random.below(60)).map(|_| random.byte())),
            _ => bytes.extend(b"usr/share/doc/package/changelog.gz\0"),
        }
    }
    bytes
}

fn deflated(content: &[u8], random: &mut Random) -> Vec<u8> {
    let level = u32::try_from(random.below(10)).unwrap();
    let mut encoder = Compress::new(Compression::new(level), false);
    let mut stream = Vec::with_capacity(content.len() + content.len() / 8 + 4096);
    let mut rest = content;
    // Some blocks end early.
    while !rest.is_empty() && random.below(4) > 0 {
        let (piece, tail) = rest.split_at(1 + random.below(rest.len()));
        let flush = [
            FlushCompress::Sync,
            FlushCompress::Partial,
            FlushCompress::None,
        ];
        encoder
            .compress_vec(piece, &mut stream, flush[random.below(3)])
            .unwrap();
        rest = tail;
        if stream.capacity() - stream.len() < rest.len() + 2048 {
            break;
        }
    }
    encoder
        .compress_vec(rest, &mut stream, FlushCompress::Finish)
        .unwrap();
    stream
}

fn with_zlib(stream: &[u8]) -> Outcome {
    let mut decoder = Decompress::new(false);
    let mut output = vec![0; ROOM];
    let status = decoder.decompress(stream, &mut output, FlushDecompress::None);
    output.truncate(decoder.total_out().try_into().unwrap());
    let consumed = decoder.total_in().try_into().unwrap();
    match status {
        Ok(Status::StreamEnd) => Outcome::Whole { output, consumed },
        Ok(_) => Outcome::Short(output),
        Err(_) => Outcome::Invalid,
    }
}

/// Input in pieces of up to `piece` bytes, output in a buffer that moves on after about `room` bytes.
fn with_ours(stream: &[u8], piece: usize, room: usize, random: &mut Random) -> Outcome {
    const WINDOW: usize = 32 << 10;
    let mut decoder = Inflate::new();
    let mut output = Vec::new();
    let mut buffer = vec![0; WINDOW + room + MARGIN];
    let (mut start, mut at) = (WINDOW, WINDOW);
    let mut consumed = 0;
    loop {
        if buffer.len() - at < MARGIN {
            let shift = at - WINDOW;
            buffer.copy_within(shift..at, 0);
            start = start.saturating_sub(shift);
            at = WINDOW;
        }
        let end = stream.len().min(consumed + 1 + random.below(piece));
        let Ok(progress) = decoder.read(&stream[consumed..end], &mut buffer, start, at) else {
            return Outcome::Invalid;
        };
        output.extend_from_slice(&buffer[at..progress.end]);
        consumed += progress.consumed;
        at = progress.end;
        match progress.stop {
            Stop::End => return Outcome::Whole { output, consumed },
            Stop::Input => {
                assert_eq!(consumed, end, "input is left");
                if end == stream.len() {
                    return Outcome::Short(output);
                }
            }
            Stop::Boundary { bits } => assert!(bits < 8, "{bits}"),
            Stop::Room => assert!(buffer.len() - at < MARGIN, "there was room"),
        }
    }
}

fn check(stream: &[u8], random: &mut Random) -> Outcome {
    let expected = with_zlib(stream);
    let pieces = [1, 9, 400, 1 << 20];
    let rooms = [1, 1000, 1 << 17];
    let (piece, room) = (pieces[random.below(4)], rooms[random.below(3)]);
    let ours = with_ours(stream, piece, room, random);
    // zlib finds some faults only when more bytes have come.
    let is_doomed = || {
        [0, 0xff].iter().all(|byte| {
            let longer = [stream, &[*byte; 64]].concat();
            with_zlib(&longer) == Outcome::Invalid
        })
    };
    let is_early = ours == Outcome::Invalid && matches!(expected, Outcome::Short(_));
    assert!(
        ours == expected || is_early && is_doomed(),
        "pieces of {piece}, room of {room}: {stream:02x?}\nours {ours:02x?}\nzlib {expected:02x?}"
    );
    expected
}

#[test]
fn every_stream_is_decoded_as_zlib_does() {
    let mut random = Random(0x5eed);
    for _ in 0..1_500 {
        let content = content(&mut random);
        let stream = deflated(&content, &mut random);
        let whole = matches!(check(&stream, &mut random), Outcome::Whole { output, .. } if output == content);
        assert!(whole, "zlib does not read what it wrote");
    }
}

#[test]
fn damaged_streams_are_refused_where_zlib_refuses_them() {
    let mut random = Random(0xbad_5eed);
    let mut counts = [0_u32; 3];
    for _ in 0..3_000 {
        let mut content = content(&mut random);
        content.truncate(3_000);
        let sound = deflated(&content, &mut random);
        for _ in 0..40 {
            let mut stream = sound.clone();
            for _ in 0..1 + random.below(3) {
                // Mostly where the codes stand.
                let end = [stream.len(), stream.len().min(90)][random.below(2)];
                let at = random.below(end);
                match random.below(3) {
                    0 => stream[at] ^= 1 << random.below(8),
                    1 => stream[at] = random.byte(),
                    _ => stream.truncate(at + 1),
                }
            }
            counts[match check(&stream, &mut random) {
                Outcome::Whole { .. } => 0,
                Outcome::Short(_) => 1,
                Outcome::Invalid => 2,
            }] += 1;
        }
    }
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
}

#[test]
fn noise_is_refused_where_zlib_refuses_it() {
    let mut random = Random(0x0150);
    for _ in 0..40_000 {
        let mut stream: Vec<u8> = (0..1 + random.below(400)).map(|_| random.byte()).collect();
        // A block of each type often enough.
        stream[0] = stream[0] & !7 | [0, 2, 3, 4, 4, 5][random.below(6)];
        check(&stream, &mut random);
    }
}
