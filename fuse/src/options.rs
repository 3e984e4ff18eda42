//! What may be chosen about a mount.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long a read may wait for its bytes before it fails.
    pub deadline: Duration,
    /// How far the kernel reads ahead of a sequential reader, in KiB.
    pub read_ahead: u32,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            deadline: Duration::from_secs(120),
            read_ahead: 512,
        }
    }
}
