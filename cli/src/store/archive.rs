//! Writes OCI layouts into one tar, the same bytes whichever part was ready first.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use oci_spec::image::Digest;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::sync::Mutex;

use super::apart::blob;
use super::directory::{LAYOUT, index_json, readable};
use super::extent::Extent;
use super::sink::{Labels, Sink, Written};
use super::source::Source;
use crate::content::{Chunks, Content};
use crate::digest;
use crate::error::Error;

const BLOCK: usize = 512;

/// Kept in memory; larger ones wait in a file without a name.
const SMALL: usize = 64 << 10;

/// Collects what belongs to the image and writes it when the image gets its name.
pub(crate) struct Archive {
    path: PathBuf,
    parts: Mutex<Parts>,
}

struct Parts {
    /// By path, which is also their order in the tar.
    held: BTreeMap<String, Part>,
    /// Contents of other stores, as far as their digests were checked.
    verified: HashMap<Digest, Extent>,
    spool: File,
    spooled: u64,
}

enum Part {
    Bytes(Bytes),
    Spooled { offset: u64, size: u64 },
    Elsewhere(Content, Arc<dyn Source>),
}

/// The archive under construction.
struct Output<'a> {
    path: &'a Path,
    tar: BufWriter<File>,
    /// The same file, at the same place: for what is copied without passing through here.
    file: Arc<std::fs::File>,
}

impl Archive {
    pub(crate) async fn create(path: &Path) -> Result<Self, Error> {
        let spool = tempfile::tempfile_in(parent(path)).map_err(Error::file(path))?;
        Ok(Archive {
            path: path.to_owned(),
            parts: Mutex::new(Parts {
                held: BTreeMap::new(),
                verified: HashMap::new(),
                spool: File::from_std(spool),
                spooled: 0,
            }),
        })
    }

    async fn finish(&self, root: &Content) -> Result<(), Error> {
        let failed = |error| Error::file(&self.path)(error);
        let temporary = tempfile::NamedTempFile::new_in(parent(&self.path)).map_err(failed)?;
        let mut output = Output::new(&self.path, &temporary).map_err(failed)?;
        let mut parts = self.parts.lock().await;
        let Parts {
            held,
            verified,
            spool,
            ..
        } = &mut *parts;
        for (name, bytes) in [
            ("oci-layout", Bytes::from_static(LAYOUT)),
            ("index.json", index_json(root)?),
        ] {
            let size = bytes.len() as u64;
            let chunks = stream::iter([Ok(bytes)]).boxed();
            output.member(name, size, chunks).await?;
        }
        for (name, part) in held {
            match part {
                Part::Bytes(bytes) => {
                    let chunks = stream::iter([Ok(bytes.clone())]).boxed();
                    output.member(name, bytes.len() as u64, chunks).await?;
                }
                Part::Spooled { offset, size } => {
                    let spool = spool.try_clone().await.map_err(failed)?.into_std().await;
                    let extent = Extent::new(spool, *offset, *size).map_err(failed)?;
                    output.copied(name, *size, extent).await?;
                }
                Part::Elsewhere(content, source) => match verified.remove(&content.digest) {
                    Some(extent) => {
                        if !output.copied(name, content.size, extent).await? {
                            return Err(Error::Malformed {
                                what: format!("{} in {}", content.digest, source.place()),
                                reason: "it was changed while it was read".to_owned(),
                            });
                        }
                    }
                    None => {
                        let chunks = source.stream(content, 0).await?;
                        let chunks = digest::checked(chunks, content, source.place());
                        output.member(name, content.size, chunks).await?;
                    }
                },
            }
        }
        output.end().await?;
        readable(temporary.as_file()).map_err(failed)?;
        temporary
            .persist(&self.path)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }
}

impl<'a> Output<'a> {
    fn new(path: &'a Path, temporary: &tempfile::NamedTempFile) -> io::Result<Self> {
        let file = temporary.reopen()?;
        let tar = File::from_std(file.try_clone()?);
        Ok(Self {
            path,
            tar: BufWriter::with_capacity(256 << 10, tar),
            file: Arc::new(file),
        })
    }

    async fn member(&mut self, name: &str, size: u64, mut chunks: Chunks) -> Result<(), Error> {
        self.write(&header(name, size)).await?;
        while let Some(chunk) = chunks.try_next().await? {
            self.write(&chunk).await?;
        }
        self.write(padding(size)).await
    }

    /// False if it is not there any longer.
    async fn copied(&mut self, name: &str, size: u64, extent: Extent) -> Result<bool, Error> {
        self.write(&header(name, size)).await?;
        self.tar.flush().await.map_err(Error::file(self.path))?;
        let file = self.file.clone();
        let copied = tokio::task::spawn_blocking(move || extent.copy(&file));
        let copied = copied.await.map_err(|_| Error::Task("copying a file"))?;
        let is_same = copied.map_err(Error::file(self.path))?;
        self.write(padding(size)).await?;
        Ok(is_same)
    }

    async fn end(mut self) -> Result<(), Error> {
        self.write(&[0; 2 * BLOCK]).await?;
        self.tar.flush().await.map_err(Error::file(self.path))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let written = self.tar.write_all(bytes).await;
        written.map_err(Error::file(self.path))
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn padding(size: u64) -> &'static [u8] {
    const ZEROS: [u8; BLOCK] = [0; BLOCK];
    let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
    let count = if over == 0 { 0 } else { BLOCK - over };
    ZEROS.get(..count).unwrap_or_default()
}

/// A ustar header: a regular file of root, readable by all, of 1970.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let octal = format!("{size:011o}\0");
    // Beyond 8 GiB the field is a number of 12 bytes with the top bit set, which every reader knows.
    let mut large = [0; 12];
    large[0] = 0x80;
    large[4..].copy_from_slice(&size.to_be_bytes());
    let size: &[u8] = if octal.len() == 12 {
        octal.as_bytes()
    } else {
        &large
    };
    let fields: [(usize, &[u8]); 9] = [
        (0, name.as_bytes()),
        (100, b"0000644\0"),
        (108, b"0000000\0"),
        (116, b"0000000\0"),
        (124, size),
        (136, b"00000000000\0"),
        (148, b"        "),
        (156, b"0"),
        (257, b"ustar\x0000"),
    ];
    let mut header = [0; BLOCK];
    for (start, field) in fields {
        for (to, from) in header.iter_mut().skip(start).zip(field) {
            *to = *from;
        }
    }
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    let sum = format!("{sum:06o}\0 ");
    for (to, from) in header.iter_mut().skip(148).zip(sum.as_bytes()) {
        *to = *from;
    }
    header
}

impl Sink for Archive {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn write<'a>(
        &'a self,
        content: &'a Content,
        bytes: Bytes,
        _labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            let bytes = content.check(bytes, &self.place())?;
            let mut parts = self.parts.lock().await;
            if parts.held.contains_key(&blob(&content.digest)) {
                return Ok(Written::Present);
            }
            let part = if bytes.len() <= SMALL {
                Part::Bytes(bytes)
            } else {
                let (offset, size) = (parts.spooled, bytes.len() as u64);
                let written = async {
                    parts.spool.write_all(&bytes).await?;
                    parts.spool.flush().await
                };
                written.await.map_err(Error::file(&self.path))?;
                parts.spooled = offset.saturating_add(size);
                Part::Spooled { offset, size }
            };
            parts.held.insert(blob(&content.digest), part);
            Ok(Written::New)
        }
        .boxed()
    }

    fn copy<'a>(
        &'a self,
        content: &'a Content,
        from: &'a Arc<dyn Source>,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            if !from.holds(content).await? {
                return Err(Error::NoContent {
                    digest: content.digest.clone(),
                    place: from.place(),
                });
            }
            let part = Part::Elsewhere(content.clone(), from.clone());
            let mut parts = self.parts.lock().await;
            parts.held.entry(blob(&content.digest)).or_insert(part);
            Ok(Written::New)
        }
        .boxed()
    }

    fn verified<'a>(&'a self, content: &'a Content, extent: Extent) -> BoxFuture<'a, ()> {
        async move {
            let mut parts = self.parts.lock().await;
            parts.verified.insert(content.digest.clone(), extent);
        }
        .boxed()
    }

    fn name<'a>(
        &'a self,
        root: &'a Content,
        bytes: Bytes,
        labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            let written = self.write(root, bytes, labels).await?;
            self.finish(root).await?;
            Ok(written)
        }
        .boxed()
    }
}
