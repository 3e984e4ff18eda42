//! The members of a layer's tar against its table of contents, and against what readers can show.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};

use super::entry;
use super::stored::Stored;
use crate::error::Error;
use crate::finding::{Findings, quote};
use crate::path;
use crate::tar::{Header, Stream};
use crate::toc::Kind;

const OPAQUE: &[u8] = b".wh..wh..opq";

/// Follows the tar as it streams by.
pub(super) struct Members<'a> {
    stream: Stream,
    walk: Walk<'a>,
    failed: bool,
}

struct Walk<'a> {
    stored: Option<Stored<'a>>,
    /// Entries of the table that are behind us.
    position: usize,
    /// Hashes of the paths seen, for hard links.
    paths: HashSet<u64>,
    hasher: RandomState,
    max_paths: usize,
    has_xattrs: bool,
    has_opaque: bool,
    is_local_time: bool,
}

/// What is known at the end of the tar.
pub(super) struct Summary {
    /// Where the tar ends; `None` where it could not be read.
    pub(super) end: Option<u64>,
    /// Something that an annotation may deny.
    pub(super) has_xattrs: bool,
    pub(super) has_opaque: bool,
}

impl<'a> Members<'a> {
    pub(super) fn new(stored: Option<Stored<'a>>, max_entries: u32) -> Self {
        Self {
            stream: Stream::default(),
            walk: Walk {
                stored,
                position: 0,
                paths: HashSet::new(),
                hasher: RandomState::new(),
                max_paths: usize::try_from(max_entries).unwrap_or(usize::MAX),
                has_xattrs: false,
                has_opaque: false,
                is_local_time: false,
            },
            failed: false,
        }
    }

    /// Takes the next bytes of the tar.
    pub(super) fn push(&mut self, bytes: &[u8], findings: &mut Findings) {
        if self.failed {
            return;
        }
        let walk = &mut self.walk;
        let pushed = self.stream.push(bytes, &mut |header, offset| {
            walk.member(header, offset, findings)
        });
        if let Err(error) = pushed {
            self.fail(&error, findings);
        }
    }

    pub(super) fn finish(mut self, findings: &mut Findings) -> Summary {
        let mut end = None;
        if !self.failed {
            match self.stream.end() {
                Ok(position) => end = Some(position),
                Err(error) => self.fail(&error, findings),
            }
        }
        if end.is_some()
            && let Err(error) = self.walk.extra_entries(i64::MAX, findings)
        {
            self.fail(&error, findings);
        }
        if self.walk.is_local_time {
            findings.note(
                "local-time-zone",
                "the zTOC was built in a time zone other than UTC: built elsewhere it has another digest",
            );
        }
        Summary {
            end,
            has_xattrs: self.walk.has_xattrs,
            has_opaque: self.walk.has_opaque,
        }
    }

    fn fail(&mut self, error: &Error, findings: &mut Findings) {
        self.failed = true;
        match error {
            Error::Unsupported { .. } => findings.error("unsupported-member", error.to_string()),
            Error::Limit { .. } => findings.error("size-limit", error.to_string()),
            Error::Buffer { .. } => findings.error("ztoc-damaged", error.to_string()),
            _ => findings.error("tar-malformed", error.to_string()),
        }
    }
}

impl Walk<'_> {
    fn member(
        &mut self,
        header: &Header,
        offset: u64,
        findings: &mut Findings,
    ) -> Result<(), Error> {
        self.readable(header, findings);
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        self.extra_entries(offset, findings)?;
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        if stored.offset(self.position) != Some(offset) {
            findings.error(
                "omitted-entry",
                format!(
                    "{} at tar offset {offset} is not in the zTOC: it is not shown, and the file after it \
                     cannot be read",
                    quote(&header.name)
                ),
            );
            return Ok(());
        }
        let file = stored.file(self.position)?;
        self.position += 1;
        self.is_local_time |= file.time.last().is_some_and(|zone| *zone != b'Z');
        entry::compare(&file, header, findings)
    }

    /// Steps over the entries before `offset`, for which there is no member.
    fn extra_entries(&mut self, offset: i64, findings: &mut Findings) -> Result<(), Error> {
        let Some(stored) = &self.stored else {
            return Ok(());
        };
        while let Some(found) = stored.offset(self.position).filter(|found| *found < offset) {
            let file = stored.file(self.position)?;
            let name = quote(file.name);
            findings.error(
                "extra-entry",
                format!("the zTOC shows {name} at tar offset {found}, where no member of the tar has its data"),
            );
            self.position += 1;
        }
        Ok(())
    }

    /// What the reference's reader cannot show, however right the zTOC is.
    fn readable(&mut self, header: &Header, findings: &mut Findings) {
        let name = path::clean(&header.name);
        let shown = quote(&header.name);
        self.has_opaque |= path::split(&name).1 == OPAQUE;
        for (attribute, value) in header.xattrs() {
            self.has_xattrs = true;
            if value.is_empty() {
                let attribute = quote(attribute);
                findings.error(
                    "empty-xattr",
                    format!("{shown}: attribute {attribute} is empty; AWS's reader loses it and then refuses to read the file"),
                );
            }
        }
        if !header.mtime.is_writable() {
            findings.error(
                "mtime-out-of-range",
                format!("{shown}: its time is outside the years 0 to 9999; AWS's reader cannot read the file"),
            );
        }
        if header.kind == Kind::Hardlink {
            let target = path::clean(&header.linkname);
            if !self.paths.contains(&self.hasher.hash_one(&*target)) {
                findings.error(
                    "hardlink-target",
                    format!(
                        "{shown} is a hard link to {}, which does not precede it in this layer: AWS's reader \
                         pulls the layer whole",
                        quote(&header.linkname)
                    ),
                );
            }
        }
        if self.paths.len() < self.max_paths {
            let hash = self.hasher.hash_one(&*name);
            self.paths.insert(hash);
        }
    }
}
