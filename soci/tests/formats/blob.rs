//! Builds zTOC blobs by hand, honest ones and others.

/// What a zTOC says; [`Blob::build`] writes it without a thought.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) compressed_size: i64,
    pub(crate) uncompressed_size: i64,
    pub(crate) files: Option<Vec<File>>,
    pub(crate) algorithm: i8,
    pub(crate) max_span_id: i32,
    pub(crate) digests: Vec<Vec<u8>>,
    pub(crate) checkpoints: Vec<u8>,
}

#[derive(Clone)]
pub(crate) struct File {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: &'static str,
    pub(crate) offset: i64,
    pub(crate) size: i64,
    pub(crate) linkname: Vec<u8>,
    pub(crate) time: &'static str,
    pub(crate) major: i64,
    pub(crate) pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl File {
    pub(crate) fn new(name: &str, offset: i64, size: i64) -> Self {
        Self {
            name: name.into(),
            kind: "reg",
            offset,
            size,
            linkname: Vec::new(),
            time: "2023-11-14T22:13:20Z",
            major: 0,
            pax: Vec::new(),
        }
    }
}

/// A checkpoint record.
pub(crate) fn checkpoint(compressed: i64, uncompressed: i64, bits: u8) -> Vec<u8> {
    let mut record = [compressed.to_le_bytes(), uncompressed.to_le_bytes()].concat();
    record.push(bits);
    record.resize(17 + 32_768, 0);
    record
}

/// A checkpoint blob of `have` announced and the given actual records.
pub(crate) fn checkpoints(have: i32, records: &[(i64, i64, u8)]) -> Vec<u8> {
    let mut blob = have.to_le_bytes().to_vec();
    blob.extend(4_194_304_i64.to_le_bytes());
    for (compressed, uncompressed, bits) in records {
        blob.extend(checkpoint(*compressed, *uncompressed, *bits));
    }
    blob
}

/// A checkpoint blob of an uncompressed layer.
pub(crate) fn tar_checkpoints(span_size: i64, size: i64) -> Vec<u8> {
    let mut writer = Writer::default();
    let root = writer.word();
    let table = writer.table(&[None, Some(Field::I64(span_size)), Some(Field::I64(size))]);
    writer.link(root, table.at);
    writer.bytes
}

pub(crate) fn digest() -> Vec<u8> {
    format!("sha256:{}", "0".repeat(64)).into_bytes()
}

impl Default for Blob {
    /// Two spans, three files.
    fn default() -> Self {
        Self {
            compressed_size: 5_000,
            uncompressed_size: 8_192,
            files: Some(vec![
                File::new("a", 512, 3),
                File::new("b", 1_536, 0),
                File::new("c", 2_048, 4_096),
            ]),
            algorithm: 1,
            max_span_id: 1,
            digests: vec![digest(); 2],
            checkpoints: checkpoints(2, &[(10, 0, 0), (2_000, 4_000, 3)]),
        }
    }
}

impl Blob {
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        let root = writer.word();
        let ztoc = writer.table(&[
            Some(Field::Link),
            Some(Field::Link),
            Some(Field::I64(self.compressed_size)),
            Some(Field::I64(self.uncompressed_size)),
            self.files.as_ref().map(|_| Field::Link),
            Some(Field::Link),
        ]);
        writer.link(root, ztoc.at);
        writer.string(ztoc.fields[0], b"0.9");
        writer.string(ztoc.fields[1], b"by hand");
        if let Some(files) = &self.files {
            let toc = writer.table(&[Some(Field::Link)]);
            writer.link(ztoc.fields[4], toc.at);
            let places = writer.vector(toc.fields[0], files.len());
            for (place, file) in places.into_iter().zip(files) {
                writer.file(place, file);
            }
        }
        let info = writer.table(&[
            Some(Field::I8(self.algorithm)),
            Some(Field::I32(self.max_span_id)),
            Some(Field::Link),
            Some(Field::Link),
        ]);
        writer.link(ztoc.fields[5], info.at);
        let places = writer.vector(info.fields[2], self.digests.len());
        for (place, digest) in places.into_iter().zip(&self.digests) {
            writer.string(place, digest);
        }
        writer.string(info.fields[3], &self.checkpoints);
        writer.bytes
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Field {
    I8(i8),
    I32(i32),
    I64(i64),
    Link,
}

pub(crate) struct Table {
    pub(crate) at: usize,
    pub(crate) fields: Vec<usize>,
}

/// Appends tables before what they link to, since links only lead forwards.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn word(&mut self) -> usize {
        self.bytes.extend([0; 4]);
        self.bytes.len() - 4
    }

    pub(crate) fn table(&mut self, fields: &[Option<Field>]) -> Table {
        let mut offsets = Vec::new();
        let mut body = Vec::new();
        for field in fields {
            offsets.push(field.map_or(0, |_| 4 + body.len()));
            match field {
                Some(Field::I8(value)) => body.extend(value.to_le_bytes()),
                Some(Field::I32(value)) => body.extend(value.to_le_bytes()),
                Some(Field::I64(value)) => body.extend(value.to_le_bytes()),
                Some(Field::Link) => body.extend([0; 4]),
                None => {}
            }
        }
        let vtable_len = 4 + 2 * fields.len();
        for number in [vtable_len, 4 + body.len()].iter().chain(&offsets) {
            self.bytes
                .extend(u16::try_from(*number).unwrap().to_le_bytes());
        }
        let at = self.bytes.len();
        self.bytes
            .extend(i32::try_from(vtable_len).unwrap().to_le_bytes());
        self.bytes.extend(body);
        Table {
            at,
            fields: offsets.iter().map(|offset| at + offset).collect(),
        }
    }

    pub(crate) fn link(&mut self, from: usize, to: usize) {
        let offset = u32::try_from(to - from).unwrap();
        self.bytes[from..from + 4].copy_from_slice(&offset.to_le_bytes());
    }

    pub(crate) fn string(&mut self, from: usize, bytes: &[u8]) -> usize {
        let at = self.bytes.len();
        self.bytes
            .extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        self.bytes.extend(bytes);
        self.bytes.push(0);
        self.link(from, at);
        at
    }

    pub(crate) fn vector(&mut self, from: usize, len: usize) -> Vec<usize> {
        let at = self.bytes.len();
        self.bytes.extend(u32::try_from(len).unwrap().to_le_bytes());
        self.link(from, at);
        (0..len).map(|_| self.word()).collect()
    }

    fn file(&mut self, place: usize, file: &File) {
        let link = Some(Field::Link);
        let table = self.table(&[
            link,
            link,
            Some(Field::I64(file.offset)),
            Some(Field::I64(file.size)),
            link,
            Some(Field::I64(0o100_644)),
            Some(Field::I32(1000)),
            None,
            None,
            None,
            link,
            Some(Field::I64(file.major)),
            None,
            link,
        ]);
        self.link(place, table.at);
        self.string(table.fields[0], &file.name);
        self.string(table.fields[1], file.kind.as_bytes());
        self.string(table.fields[4], &file.linkname);
        self.string(table.fields[10], file.time.as_bytes());
        let records = self.vector(table.fields[13], file.pax.len());
        for (place, (key, value)) in records.into_iter().zip(&file.pax) {
            let record = self.table(&[link, link]);
            self.link(place, record.at);
            self.string(record.fields[0], key);
            self.string(record.fields[1], value);
        }
    }
}
