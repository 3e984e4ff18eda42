//! From the paths somebody wants loaded first to the spans that hold them.

use std::ops::Range;

use super::glob::Glob;
use super::hidden::{self, Hidden};
use super::merge;
use crate::canonical;
use crate::error::Error;
use crate::path;
use crate::spans::SpanTable;
use crate::toc::{Entry, Kind, Toc};

/// Longest path asked for; no file has a longer one.
const MAX_PATH: usize = 4096;
/// Most paths asked for.
const MAX_PATHS: u64 = 100_000;

/// Paths asked for: names, directories with all below them, and globs (`*`, `?`, `**`) over names of files.
///
/// Compared with the reference tool, which knows names only: names are found in every form archivers
/// write (`x`, `./x`, `/x`), a hard link loads the file it stands for, a file that an upper layer removed
/// is not found in a lower one, the span with a file's tar header is loaded too, since readers check it,
/// and a span that begins where a file ends is not.
#[derive(Debug, Default)]
pub struct Requests {
    requests: Vec<Request>,
    hidden: Hidden,
}

#[derive(Debug)]
struct Request {
    /// As given.
    text: String,
    /// Clean.
    path: Vec<u8>,
    glob: Option<Glob>,
    found: bool,
}

impl Requests {
    /// Leading slashes and `./` do not matter; what is only white space is left out.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut requests = Vec::new();
        for text in paths {
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            if text.len() > MAX_PATH || text.contains('\0') {
                return Err(Error::PrefetchPath {
                    path: text.chars().take(100).collect(),
                    reason: "no file can have this name",
                });
            }
            let value = requests.len() as u64 + 1;
            if value > MAX_PATHS {
                let (what, limit) = ("prefetch paths", MAX_PATHS);
                return Err(Error::Limit { what, value, limit });
            }
            requests.push(Request::new(text));
        }
        Ok(Self {
            requests,
            hidden: Hidden::default(),
        })
    }

    /// The paths of a JSON file: an array of strings.
    pub fn paths_from_json(json: &[u8]) -> Result<Vec<String>, Error> {
        canonical::parse("list of prefetch paths", json)
    }

    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The spans of one layer that hold what is asked for, ascending and apart. Layers come from the top
    /// of the image to its bottom, since upper ones hide files of lower ones.
    pub fn layer(&mut self, toc: &Toc, spans: &SpanTable) -> Vec<Range<u32>> {
        let mut wanted = Vec::new();
        let mut originals = Vec::new();
        let mut files = Vec::new();
        for (_, entry) in toc.iter() {
            let name = path::clean(entry.name());
            if hidden::is_whiteout(&name) || !self.wants(&name, entry.kind()) {
                continue;
            }
            if entry.kind() == Kind::Dir {
                continue;
            }
            files.push(name.to_vec());
            wanted.push(extent(&entry));
            if entry.kind() == Kind::Hardlink {
                originals.push(path::clean(entry.linkname()).into_owned());
            }
        }
        if !originals.is_empty() {
            originals.sort_unstable();
            let is_original = |entry: &Entry<'_>| {
                originals.binary_search(&path::clean(entry.name()).into_owned())
            };
            let entries = toc.iter().map(|(_, entry)| entry);
            let entries = entries.filter(|entry| is_original(entry).is_ok());
            wanted.extend(entries.map(|entry| extent(&entry)));
        }
        self.hidden.add_layer(toc);
        files
            .into_iter()
            .for_each(|file| self.hidden.add_file(file));
        merge(
            wanted
                .into_iter()
                .map(|extent| spans.covering(extent))
                .filter(|range| !range.is_empty())
                .collect(),
        )
    }

    /// Paths that no layer so far holds.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        let missing = self.requests.iter().filter(|request| !request.found);
        missing.map(|request| request.text.as_str())
    }

    fn wants(&mut self, name: &[u8], kind: Kind) -> bool {
        let mut matching = self
            .requests
            .iter_mut()
            .filter(|request| request.matches(name, kind))
            .peekable();
        if matching.peek().is_none() || self.hidden.hides(name) {
            return false;
        }
        matching.for_each(|request| request.found = true);
        true
    }
}

impl Request {
    fn new(text: &str) -> Self {
        let path = path::clean(text.as_bytes()).into_owned();
        Self {
            text: text.to_owned(),
            glob: Glob::is_glob(&path).then(|| Glob::new(&path)),
            path,
            found: false,
        }
    }

    fn matches(&self, name: &[u8], kind: Kind) -> bool {
        if self.path == name || self.path.is_empty() {
            return true;
        }
        let is_file = matches!(kind, Kind::Reg | Kind::Hardlink);
        match &self.glob {
            Some(glob) => is_file && glob.matches(name),
            None => {
                let below = name.strip_prefix(self.path.as_slice());
                below.is_some_and(|rest| rest.starts_with(b"/"))
            }
        }
    }
}

/// Header and data of an entry in the tar.
fn extent(entry: &Entry<'_>) -> Range<u64> {
    let data = match entry.kind() {
        Kind::Reg => entry.size(),
        _ => 0,
    };
    entry.header_offset()..entry.offset().saturating_add(data)
}
