//! How much a foreign artifact may ask us to hold.

/// Checked before anything is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a zTOC blob.
    pub blob: u64,
    /// Entries of a table of contents.
    pub entries: u32,
    /// Bytes of a path; a component of it never exceeds 255.
    pub name: usize,
    /// Bytes of one entry's extended attributes, names and values.
    pub xattrs: usize,
    /// Bytes of a span, compressed or inflated.
    pub span: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob: 256 << 20,
            entries: 4 << 20,
            name: 4096,
            xattrs: 64 << 10,
            span: 64 << 20,
        }
    }
}
