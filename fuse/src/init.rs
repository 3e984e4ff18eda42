//! What both sides agree on when a connection begins (FUSE_INIT).

use crate::abi::{self, InitIn, InitOut, feature};

/// Reads of up to 32 pages, 128 KiB: measured faster than larger ones, because several are on their way
/// at once. Without MAX_PAGES the kernel's own limit is the same 32 pages.
const MAX_PAGES: u16 = 32;

/// The smallest the kernel accepts. Nothing is ever written, and the read buffer must hold this much.
const MAX_WRITE: u32 = 4096;

/// Readahead requests on their way at once. A cold span keeps its requests here until the registry has
/// answered, so the kernel's default of 12 would let one slow span hold up readahead of resident ones.
const MAX_BACKGROUND: u16 = 256;

/// From here on the kernel skips readahead that nobody waits for yet.
const CONGESTION_THRESHOLD: u16 = 192;

/// What we use if the kernel has it.
///
/// Not READDIRPLUS_AUTO, which gives attributes with the first page of a listing only: a program that lists a
/// large directory before it looks at the entries (`ls`, `du`, `tar`) then asks for each of the others.
/// Measured with 200,000 files through overlay: the first `ls -lR` takes 1.9 s in place of 11 s, for which the
/// first `find` takes 0.65 s in place of 0.24 s and makes the inodes it does not look at.
const WANTED: u32 = feature::ASYNC_READ
    | feature::PARALLEL_DIROPS
    | feature::NO_OPEN_SUPPORT
    | feature::NO_OPENDIR_SUPPORT
    | feature::CACHE_SYMLINKS
    | feature::DO_READDIRPLUS
    | feature::MAX_PAGES
    | feature::EXPLICIT_INVAL_DATA;

/// Without these, `open` answered with ENOSYS would fail in the caller.
const NEEDED: u32 = feature::NO_OPEN_SUPPORT | feature::NO_OPENDIR_SUPPORT;

/// The outcome of INIT, which happens once in the life of a connection.
///
/// Whoever takes over a live connection must go on with these values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    pub minor: u32,
    pub flags: u32,
    pub max_readahead: u32,
    pub max_background: u16,
    pub congestion_threshold: u16,
    pub max_write: u32,
    pub max_pages: u16,
}

/// Why no agreement was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the kernel speaks FUSE {major}.{minor}, 7.31 (Linux 5.5) is needed")]
    Version { major: u32, minor: u32 },
    #[error("the kernel lacks FUSE features {0:#x} (no-open, no-opendir)")]
    Features(u32),
}

pub(crate) fn negotiate(offer: &InitIn, read_ahead: u32) -> Result<Negotiated, Refused> {
    if offer.major != abi::MAJOR || offer.minor < abi::MINOR {
        return Err(Refused::Version {
            major: offer.major,
            minor: offer.minor,
        });
    }
    let flags = WANTED & offer.flags;
    let missing = NEEDED & !flags;
    if missing != 0 {
        return Err(Refused::Features(missing));
    }
    Ok(Negotiated {
        minor: abi::MINOR,
        flags,
        max_readahead: offer.max_readahead.min(read_ahead.saturating_mul(1024)),
        max_background: MAX_BACKGROUND,
        congestion_threshold: CONGESTION_THRESHOLD,
        max_write: MAX_WRITE,
        max_pages: MAX_PAGES,
    })
}

impl Negotiated {
    pub(crate) fn answer(&self) -> InitOut {
        InitOut {
            major: abi::MAJOR,
            minor: self.minor,
            max_readahead: self.max_readahead,
            flags: self.flags,
            max_background: self.max_background,
            congestion_threshold: self.congestion_threshold,
            max_write: self.max_write,
            time_gran: 1,
            max_pages: self.max_pages,
            ..InitOut::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: InitIn = InitIn {
        major: 7,
        minor: 45,
        max_readahead: 131_072,
        flags: u32::MAX,
    };

    #[track_caller]
    fn check(offer: InitIn, expect: Result<(u32, u32), Refused>) {
        let got = negotiate(&offer, 512).map(|agreed| (agreed.flags, agreed.max_readahead));
        assert_eq!(got, expect);
    }

    #[test]
    fn only_what_we_want_is_taken_from_a_kernel_that_offers_all() {
        check(ALL, Ok((WANTED, 131_072)));
    }

    #[test]
    fn only_what_the_kernel_offers_is_taken() {
        check(
            InitIn {
                flags: NEEDED,
                max_readahead: u32::MAX,
                ..ALL
            },
            Ok((NEEDED, 524_288)),
        );
    }

    #[test]
    fn a_kernel_without_what_we_need_is_refused() {
        check(
            InitIn { minor: 30, ..ALL },
            Err(Refused::Version {
                major: 7,
                minor: 30,
            }),
        );
        check(
            InitIn { major: 8, ..ALL },
            Err(Refused::Version {
                major: 8,
                minor: 45,
            }),
        );
        let flags = !feature::NO_OPEN_SUPPORT;
        check(
            InitIn { flags, ..ALL },
            Err(Refused::Features(feature::NO_OPEN_SUPPORT)),
        );
    }
}
