//! A tar written by hand, for layers that no fixture has.

/// Type flags of ustar.
pub(crate) const REGULAR: u8 = b'0';
pub(crate) const CHAR: u8 = b'3';
pub(crate) const DIRECTORY: u8 = b'5';

#[derive(Default)]
pub(crate) struct Tar {
    bytes: Vec<u8>,
}

impl Tar {
    pub(crate) fn directory(self, name: &str, mode: u32) -> Tar {
        self.member(name, DIRECTORY, mode, (0, 0), &[])
    }

    pub(crate) fn file(self, name: &str, mode: u32, contents: &[u8]) -> Tar {
        self.member(name, REGULAR, mode, (0, 0), contents)
    }

    pub(crate) fn device(self, name: &str, mode: u32, numbers: (u32, u32)) -> Tar {
        self.member(name, CHAR, mode, numbers, &[])
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }

    fn member(
        mut self,
        name: &str,
        kind: u8,
        mode: u32,
        device: (u32, u32),
        contents: &[u8],
    ) -> Tar {
        let mut block = [0u8; 512];
        let mut put =
            |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", contents.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(257, "ustar\x0000");
        put(329, &format!("{:07o}", device.0));
        put(337, &format!("{:07o}", device.1));
        block[156] = kind;
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.bytes.extend_from_slice(&block);
        self.bytes.extend_from_slice(contents);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }
}
