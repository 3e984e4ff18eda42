//! Differences of two SOCI indexes or two zTOCs, in words.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::annotations;
use crate::canonical::{self, Annotations, Manifest};
use crate::error::Error;
use crate::finding::quote;
use crate::limits::Limits;
use crate::media_types;
use crate::spans::{Compression, SpanId, SpanTable};
use crate::toc::{Entry, Mtime, Toc};
use crate::ztoc::Ztoc;

/// Differences of one zTOC that are told one by one.
const MAX_TOLD: usize = 1000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The layer, entry or field that differs.
    pub subject: String,
    pub text: String,
}

/// Differences of two SOCI index manifests.
pub fn indexes(old: &[u8], new: &[u8]) -> Result<Vec<Difference>, Error> {
    let parse = |json| canonical::parse::<Manifest>("SOCI index", json);
    let (before, after) = (parse(old)?, parse(new)?);
    let mut list = List::default();
    list.field(
        "config type",
        &before.config.media_type,
        &after.config.media_type,
    );
    let subject = |index: &Manifest| index.subject.as_ref().map(|subject| subject.digest.clone());
    list.field("subject", subject(&before), subject(&after));
    list.annotations("index", &before.annotations, &after.annotations);
    for (kind, what) in [
        (media_types::ZTOC, "zTOC"),
        (media_types::PREFETCH, "prefetch artifact"),
    ] {
        let (before, after) = (blobs(&before, kind), blobs(&after, kind));
        for (layer, old) in &before {
            match after.get(layer) {
                None => list.add(*layer, format!("its {what} {} is gone", old.0)),
                Some(new) => {
                    list.change(layer, what, old.0, new.0);
                    list.annotations(layer, old.1, new.1);
                }
            }
        }
        for (layer, new) in after
            .iter()
            .filter(|(layer, _)| !before.contains_key(*layer))
        {
            list.add(*layer, format!("it has a {what} now, {}", new.0));
        }
    }
    if list.is_empty() && old != new {
        list.add("index", "the same is said in other bytes".to_owned());
    }
    Ok(list.finish())
}

/// Digest and annotations of blobs of one kind, by layer; of two for a layer the last counts.
fn blobs<'a>(index: &'a Manifest, kind: &str) -> BTreeMap<&'a str, (&'a str, &'a Annotations)> {
    let layers = index.layers.iter().flatten();
    layers
        .filter(|descriptor| descriptor.media_type == kind)
        .filter_map(|descriptor| {
            let layer = descriptor.annotations.get(annotations::LAYER_DIGEST)?;
            Some((
                layer.as_str(),
                (descriptor.digest.as_str(), &descriptor.annotations),
            ))
        })
        .collect()
}

/// Differences of two zTOCs: entries, spans, sizes. Entries are told apart by where they are in the tar if
/// both are of the same layer, so a renamed file is one change.
pub fn ztocs(old: &[u8], new: &[u8]) -> Result<Vec<Difference>, Error> {
    let limits = Limits::default();
    let (before, after) = (Ztoc::parse(old, &limits)?, Ztoc::parse(new, &limits)?);
    let mut list = List::default();
    list.field("version", &before.version, &after.version);
    list.field("build tool", &before.build_tool, &after.build_tool);
    spans(&before.spans, &after.spans, &mut list);
    entries(&before.toc, &after.toc, &mut list);
    if list.is_empty() && old != new {
        let text = "they differ in bytes only, or in fields that no reader uses";
        list.add("zTOC", text.to_owned());
    }
    Ok(list.finish())
}

fn spans(before: &SpanTable, after: &SpanTable, list: &mut List) {
    let compression = |table: &SpanTable| match table.compression() {
        Compression::Gzip => "gzip",
        Compression::Tar => "none",
    };
    list.field("compression", compression(before), compression(after));
    list.field(
        "layer size",
        before.compressed_size(),
        after.compressed_size(),
    );
    list.field(
        "tar size",
        before.uncompressed_size(),
        after.uncompressed_size(),
    );
    list.field("number of spans", before.len(), after.len());
    for span in (0..before.len().min(after.len())).map(SpanId) {
        let subject = format!("span {}", span.0);
        let range = |range: Option<std::ops::Range<u64>>| {
            range.map_or(String::new(), |r| format!("{}..{}", r.start, r.end))
        };
        list.change(
            &subject,
            "place in the layer",
            range(before.compressed(span)),
            range(after.compressed(span)),
        );
        list.change(
            &subject,
            "place in the tar",
            range(before.uncompressed(span)),
            range(after.uncompressed(span)),
        );
        let same_window =
            before.window(span).map(|w| w.sha256) == after.window(span).map(|w| w.sha256);
        for (what, is_same) in [
            ("digest", before.digest(span) == after.digest(span)),
            ("window", same_window),
        ] {
            if !is_same {
                list.add(&subject, format!("its {what} differs"));
            }
        }
    }
}

/// Walks both in the order of their offsets.
fn entries(before: &Toc, after: &Toc, list: &mut List) {
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        match (old.peek().copied(), new.peek().copied()) {
            (None, None) => return,
            (Some((_, gone)), other) if other.is_none_or(|(_, e)| gone.offset() < e.offset()) => {
                list.add(
                    quote(gone.name()),
                    format!("no longer at tar offset {}", gone.offset()),
                );
                old.next();
            }
            (other, Some((_, added))) if other.is_none_or(|(_, e)| added.offset() < e.offset()) => {
                list.add(
                    quote(added.name()),
                    format!("new at tar offset {}", added.offset()),
                );
                new.next();
            }
            (Some((_, was)), Some((_, is))) => {
                entry(&was, &is, list);
                old.next();
                new.next();
            }
            _ => return,
        }
    }
}

fn entry(was: &Entry<'_>, is: &Entry<'_>, list: &mut List) {
    let subject = quote(was.name());
    let mtime = |mtime: Option<Mtime>| {
        mtime.map_or("none".to_owned(), |m| {
            format!("{}.{:09}", m.seconds, m.nanos)
        })
    };
    let fields = [
        ("name", quote(was.name()), quote(is.name())),
        ("link target", quote(was.linkname()), quote(is.linkname())),
        (
            "type",
            format!("{:?}", was.kind()),
            format!("{:?}", is.kind()),
        ),
        (
            "mode",
            format!("{:o}", was.mode()),
            format!("{:o}", is.mode()),
        ),
        ("owner", was.uid().to_string(), is.uid().to_string()),
        ("group", was.gid().to_string(), is.gid().to_string()),
        ("modification time", mtime(was.mtime()), mtime(is.mtime())),
        (
            "device",
            format!("{:?}", was.device()),
            format!("{:?}", is.device()),
        ),
        ("size", was.size().to_string(), is.size().to_string()),
    ];
    for (field, was, is) in fields {
        list.change(&subject, field, was, is);
    }
    if !was.xattrs().eq(is.xattrs()) {
        list.add(&subject, "its extended attributes differ".to_owned());
    }
}

#[derive(Default)]
struct List {
    told: Vec<Difference>,
    untold: u64,
}

impl List {
    fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    fn add(&mut self, subject: impl AsRef<str>, text: String) {
        if self.told.len() >= MAX_TOLD {
            self.untold += 1;
            return;
        }
        let subject = subject.as_ref().to_owned();
        self.told.push(Difference { subject, text });
    }

    /// A field of the whole.
    fn field<T: PartialEq + std::fmt::Debug>(&mut self, field: &str, was: T, is: T) {
        if was != is {
            self.add(field, format!("was {was:?}, is {is:?}"));
        }
    }

    fn change<T: PartialEq + std::fmt::Display>(
        &mut self,
        subject: &str,
        what: &str,
        was: T,
        is: T,
    ) {
        if was != is {
            self.add(subject, format!("its {what} was {was}, is {is}"));
        }
    }

    fn annotations(&mut self, subject: &str, was: &Annotations, is: &Annotations) {
        let keys = was
            .keys()
            .chain(is.keys().filter(|key| !was.contains_key(*key)));
        for key in keys {
            let value = |from: &Annotations| {
                from.get(key)
                    .map_or("absent".to_owned(), |v| quote(v.as_bytes()))
            };
            self.change(subject, &format!("annotation {key}"), value(was), value(is));
        }
    }

    fn finish(mut self) -> Vec<Difference> {
        if self.untold > 0 {
            let (subject, untold) = ("more".to_owned(), self.untold);
            let text = format!("{untold} further differences are left out");
            self.told.push(Difference { subject, text });
        }
        self.told
    }
}
