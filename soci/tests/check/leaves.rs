//! Where in a zTOC blob its statements are.

use std::ops::Range;

/// One statement: what it is about, and its bytes.
pub(crate) struct Leaf {
    pub(crate) name: String,
    pub(crate) place: Range<usize>,
    pub(crate) kind: LeafKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeafKind {
    Number,
    /// The length is in the four bytes before.
    Text,
    Bytes,
}

struct Walker<'a> {
    blob: &'a [u8],
    leaves: Vec<Leaf>,
}

const FILE: [(&str, usize); 14] = [
    ("name", 0),
    ("type", 0),
    ("offset", 8),
    ("size", 8),
    ("linkname", 0),
    ("mode", 8),
    ("uid", 4),
    ("gid", 4),
    ("uname", 0),
    ("gname", 0),
    ("mod_time", 0),
    ("devmajor", 8),
    ("devminor", 8),
    ("xattrs", usize::MAX),
];

/// All statements, but for the name of the tool.
pub(crate) fn leaves(blob: &[u8]) -> Vec<Leaf> {
    let mut walker = Walker {
        blob,
        leaves: Vec::new(),
    };
    let root = walker.follow(0);
    walker.text("version", walker.field(root, 0).unwrap());
    walker.number("compressed size", walker.field(root, 2), 8);
    walker.number("uncompressed size", walker.field(root, 3), 8);
    let toc = walker.follow(walker.field(root, 4).unwrap());
    for file in walker.vector(walker.field(toc, 0).unwrap()) {
        let table = walker.follow(file);
        let at = walker.field(table, 0).unwrap();
        let name = walker.string(at);
        let name = String::from_utf8_lossy(&blob[name]).into_owned();
        walker.leaves.push(Leaf {
            name: format!("{name}: place in the vector"),
            place: file..file + 4,
            kind: LeafKind::Bytes,
        });
        for (slot, (field, size)) in FILE.into_iter().enumerate() {
            let Some(at) = walker.field(table, slot) else {
                continue;
            };
            let field = format!("{name}: {field}");
            match size {
                0 => walker.text(&field, at),
                usize::MAX => {
                    for record in walker.vector(at) {
                        let record = walker.follow(record);
                        for (slot, what) in ["key", "value"].into_iter().enumerate() {
                            let at = walker.field(record, slot).unwrap();
                            walker.text(&format!("{field} {what}"), at);
                        }
                    }
                }
                size => walker.number(&field, Some(at), size),
            }
        }
    }
    let info = walker.follow(walker.field(root, 5).unwrap());
    walker.number("algorithm", walker.field(info, 0), 1);
    walker.number("greatest span", walker.field(info, 1), 4);
    for digest in walker.vector(walker.field(info, 2).unwrap()) {
        walker.text("span digest", digest);
    }
    let checkpoints = walker.string(walker.field(info, 3).unwrap());
    if checkpoints.len() > 1000 {
        walker.checkpoints(checkpoints);
    } else {
        let start = checkpoints.start;
        let table = walker.follow(start);
        walker.number("tar span size", walker.field(table, 1), 8);
        walker.number("tar layer size", walker.field(table, 2), 8);
    }
    walker.leaves
}

impl Walker<'_> {
    fn checkpoints(&mut self, range: Range<usize>) {
        let mut at = range.start;
        let mut leaf = |name: String, len: usize, kind| {
            self.leaves.push(Leaf {
                name,
                place: at..at + len,
                kind,
            });
            at += len;
        };
        leaf("checkpoints".to_owned(), 4, LeafKind::Number);
        leaf("span size".to_owned(), 8, LeafKind::Number);
        for index in 0..(range.len() - 12) / 32_785 {
            leaf(format!("checkpoint {index} in"), 8, LeafKind::Number);
            leaf(format!("checkpoint {index} out"), 8, LeafKind::Number);
            leaf(format!("checkpoint {index} bits"), 1, LeafKind::Number);
            leaf(
                format!("checkpoint {index} window"),
                32_768,
                LeafKind::Bytes,
            );
        }
    }

    fn u32(&self, at: usize) -> usize {
        u32::from_le_bytes(self.blob[at..at + 4].try_into().unwrap()) as usize
    }

    fn follow(&self, at: usize) -> usize {
        at + self.u32(at)
    }

    fn field(&self, table: usize, slot: usize) -> Option<usize> {
        let back = i32::from_le_bytes(self.blob[table..table + 4].try_into().unwrap());
        let vtable = usize::try_from(i64::try_from(table).unwrap() - i64::from(back)).unwrap();
        let u16 = |at: usize| {
            usize::from(u16::from_le_bytes(
                self.blob[at..at + 2].try_into().unwrap(),
            ))
        };
        let offset = (4 + 2 * slot < u16(vtable)).then(|| u16(vtable + 4 + 2 * slot))?;
        (offset != 0).then_some(table + offset)
    }

    fn vector(&self, at: usize) -> Vec<usize> {
        let start = self.follow(at);
        (0..self.u32(start))
            .map(|index| start + 4 + 4 * index)
            .collect()
    }

    fn string(&self, at: usize) -> Range<usize> {
        let start = self.follow(at);
        start + 4..start + 4 + self.u32(start)
    }

    fn text(&mut self, name: &str, at: usize) {
        let place = self.string(at);
        self.leaves.push(Leaf {
            name: name.to_owned(),
            place,
            kind: LeafKind::Text,
        });
    }

    fn number(&mut self, name: &str, at: Option<usize>, size: usize) {
        if let Some(at) = at {
            self.leaves.push(Leaf {
                name: name.to_owned(),
                place: at..at + size,
                kind: LeafKind::Number,
            });
        }
    }
}
