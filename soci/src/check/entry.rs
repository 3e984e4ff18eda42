//! One entry of a zTOC against the member of the tar that it stands for.

use super::stored::File;
use crate::error::Error;
use crate::finding::{Findings, quote};
use crate::mtime::Mtime;
use crate::tar::Header;
use crate::toc::{Kind, XATTR_PREFIX};

/// Compares every field. What readers check or show is an error, the rest a warning.
pub(super) fn compare(
    file: &File<'_>,
    header: &Header,
    findings: &mut Findings,
) -> Result<(), Error> {
    let name = quote(&header.name);
    let mut lie = |field: &str, told: String, real: String| {
        let text = format!("{name}: the zTOC says its {field} is {told}, the tar says {real}");
        findings.error("entry-mismatch", text);
    };
    if file.name != header.name {
        lie("name", quote(file.name), name.clone());
    }
    if file.kind != word(header.kind) {
        lie("type", quote(file.kind), quote(word(header.kind)));
    }
    if file.linkname != header.linkname {
        lie("link target", quote(file.linkname), quote(&header.linkname));
    }
    if file.mode & 0o7777 != i64::from(header.permissions()) {
        lie(
            "mode",
            format!("{:o}", file.mode),
            format!("{:o}", header.mode),
        );
    }
    for (field, told, real) in [
        ("owner", i64::from(file.uid), i64::from(header.uid)),
        ("group", i64::from(file.gid), i64::from(header.gid)),
        ("major device number", file.device.0, header.device.0.into()),
        ("minor device number", file.device.1, header.device.1.into()),
    ] {
        if told != real {
            lie(field, told.to_string(), real.to_string());
        }
    }
    if header.kind == Kind::Reg && file.size != header.size {
        lie("size", file.size.to_string(), header.size.to_string());
    }
    let mtime = Some(header.mtime).filter(|mtime| mtime.is_writable());
    if Mtime::from_rfc3339(file.time) != mtime {
        let real = header.mtime;
        lie(
            "modification time",
            quote(file.time),
            format!("{}.{:09} s since 1970", real.seconds, real.nanos),
        );
    }
    if header.kind != Kind::Reg && file.size != 0 {
        findings.error(
            "link-with-size",
            format!("{name} has no data but a size in the zTOC: other readers refuse such a zTOC"),
        );
    }
    unused(file, header, findings);
    records(file, header, findings)
}

/// Fields that no reader looks at.
fn unused(file: &File<'_>, header: &Header, findings: &mut Findings) {
    let fields = [
        ("owner's name", file.uname != header.uname),
        ("group's name", file.gname != header.gname),
        ("mode, beyond its permissions,", file.mode != header.mode),
    ];
    for (field, differs) in fields {
        if differs {
            let name = quote(&header.name);
            findings.warning(
                "entry-unused-field",
                format!(
                    "{name}: the {field} in the zTOC is not that in the tar; no reader uses it"
                ),
            );
        }
    }
}

/// PAX records, the extended attributes among them.
fn records(file: &File<'_>, header: &Header, findings: &mut Findings) -> Result<(), Error> {
    let mut told = Vec::new();
    // A zTOC may repeat one vector of records for every entry; more than the tar has is enough to know.
    let limit = header.records.len() + 1;
    for index in 0..file.records.len().min(limit) {
        told.push(file.record(index)?);
    }
    let real = || {
        let records = header.records.iter();
        records.map(|(key, value)| (key.as_slice(), value.as_slice()))
    };
    let is_xattr = |(key, _): &(&[u8], &[u8])| key.starts_with(XATTR_PREFIX);
    let name = quote(&header.name);
    if file.records.len() > limit
        || !told
            .iter()
            .copied()
            .filter(is_xattr)
            .eq(real().filter(is_xattr))
    {
        findings.error(
            "entry-mismatch",
            format!("{name}: the zTOC has other extended attributes than the tar"),
        );
    }
    let others = told.iter().copied().filter(|record| !is_xattr(record));
    let mut known = real();
    if others
        .clone()
        .any(|record| !real().any(|known| known == record))
    {
        findings.warning(
            "entry-unused-field",
            format!(
                "{name}: the zTOC has PAX records that are not in the tar; no reader uses them"
            ),
        );
    }
    if known.any(|record| !is_xattr(&record) && !told.contains(&record)) {
        findings.note(
            "records-left-out",
            format!("{name}: the zTOC leaves out PAX records; no reader uses them"),
        );
    }
    Ok(())
}

fn word(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Hardlink => b"hardlink",
        Kind::Symlink => b"symlink",
        Kind::Dir => b"dir",
        Kind::Reg => b"reg",
        Kind::Char => b"char",
        Kind::Block => b"block",
        Kind::Fifo => b"fifo",
    }
}
