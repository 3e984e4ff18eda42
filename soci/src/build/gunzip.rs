//! Gzip streams of any number of members, inflated from one possible checkpoint to the next.

use super::error::BuildError;
use super::fill::Fill;
use super::gzip_header::{Fault, HeaderParser};
use super::inflater::{Inflater, Stop};

/// First byte of a member.
const GZIP: u8 = 0x1f;

/// What one step did. The bytes consumed, the output and the boundary follow each other in the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// Bytes of input.
    pub(super) consumed: usize,
    /// A checkpoint is possible here. So many high-order bits of the byte consumed last lie behind it.
    pub(super) boundary: Option<u8>,
}

pub(super) struct Gunzip {
    stage: Stage,
    inflater: Inflater,
    /// Of the member so far.
    crc: crc32fast::Hasher,
    /// Output of the member so far, in 32 bits as its trailer counts.
    len: u32,
}

/// What the next bytes are.
enum Stage {
    Header {
        first: bool,
        parser: HeaderParser,
    },
    Deflate,
    /// Checksum and length of the member.
    Trailer(Fill<8>),
    /// A member is complete; another may follow.
    Complete,
}

impl Gunzip {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Header {
                first: true,
                parser: HeaderParser::new(),
            },
            inflater: Inflater::new(),
            crc: crc32fast::Hasher::new(),
            len: 0,
        }
    }

    /// Takes some of `input`, which is not empty. Steps repeat until all of it is consumed.
    pub(super) fn step(&mut self, input: &[u8]) -> Result<Step, BuildError> {
        match &mut self.stage {
            Stage::Header { first, parser } => {
                let (consumed, complete) = parser
                    .push(input)
                    .map_err(|fault| not_a_member(fault, *first))?;
                self.inflater.pause();
                let mut boundary = None;
                if complete {
                    self.inflater.restart();
                    self.stage = Stage::Deflate;
                    boundary = Some(0);
                }
                Ok(Step { consumed, boundary })
            }
            Stage::Deflate => {
                let (consumed, stop) = self.inflater.read(input)?;
                let output = self.inflater.fresh();
                self.crc.update(output);
                // Wraps, as the trailer's count does.
                self.len = self.len.wrapping_add(wrapped_len(output));
                let boundary = match stop {
                    Stop::Boundary { bits } => Some(bits),
                    Stop::End => {
                        self.stage = Stage::Trailer(Fill::new());
                        None
                    }
                    Stop::Input | Stop::Room => None,
                };
                Ok(Step { consumed, boundary })
            }
            Stage::Trailer(trailer) => {
                self.inflater.pause();
                let mut consumed = 0;
                for byte in input {
                    consumed += 1;
                    if let Some(trailer) = trailer.push(*byte) {
                        self.end_member(trailer)?;
                        break;
                    }
                }
                Ok(Step {
                    consumed,
                    boundary: None,
                })
            }
            Stage::Complete if input.first() != Some(&GZIP) => Err(trailing()),
            Stage::Complete => {
                self.stage = Stage::Header {
                    first: false,
                    parser: HeaderParser::new(),
                };
                Ok(Step {
                    consumed: 0,
                    boundary: None,
                })
            }
        }
    }

    /// What the last step put out.
    pub(super) fn output(&self) -> &[u8] {
        self.inflater.fresh()
    }

    /// The 32 KiB of output before this point; zeros where there was none yet.
    pub(super) fn window(&self) -> &[u8] {
        self.inflater.window()
    }

    /// Whether the stream may end here.
    pub(super) fn finish(&self) -> Result<(), BuildError> {
        match self.stage {
            Stage::Complete => Ok(()),
            _ => Err(BuildError::malformed("the gzip stream is cut short")),
        }
    }

    fn end_member(&mut self, trailer: [u8; 8]) -> Result<(), BuildError> {
        let [c0, c1, c2, c3, l0, l1, l2, l3] = trailer;
        let crc = std::mem::take(&mut self.crc).finalize();
        let len = std::mem::take(&mut self.len);
        if u32::from_le_bytes([c0, c1, c2, c3]) != crc {
            return Err(BuildError::malformed(
                "a gzip member does not match its checksum",
            ));
        }
        if u32::from_le_bytes([l0, l1, l2, l3]) != len {
            return Err(BuildError::malformed(
                "a gzip member does not have the length it says",
            ));
        }
        self.stage = Stage::Complete;
        Ok(())
    }
}

fn not_a_member(fault: Fault, first: bool) -> BuildError {
    match fault {
        Fault::Zstd if first => BuildError::unsupported("it is compressed with zstd"),
        Fault::Zlib if first => BuildError::unsupported("it is compressed as zlib, not as gzip"),
        Fault::NotGzip if first => BuildError::malformed("it is not compressed with gzip"),
        Fault::Bad(error) => error.into(),
        Fault::Zstd | Fault::Zlib | Fault::NotGzip => trailing(),
    }
}

fn trailing() -> BuildError {
    BuildError::unsupported("bytes that are not gzip follow its last member")
}

fn wrapped_len(bytes: &[u8]) -> u32 {
    // A piece is far shorter than 4 GiB.
    u32::try_from(bytes.len()).unwrap_or(0)
}
