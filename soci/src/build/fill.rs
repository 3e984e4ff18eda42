//! Fields of known length that arrive byte by byte.

pub(super) struct Fill<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Fill<N> {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// The field, with its last byte.
    pub(super) fn push(&mut self, byte: u8) -> Option<[u8; N]> {
        if let Some(free) = self.bytes.get_mut(self.len) {
            *free = byte;
            self.len += 1;
        }
        (self.len == N).then_some(self.bytes)
    }
}
