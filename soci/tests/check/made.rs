//! Layers whose index is right in itself, yet which the reference's reader refuses; and zTOCs it refuses.

use soci::canonical;

use crate::blob::{Blob, File, checkpoints, tar_checkpoints};
use crate::layers::{codes, facts, findings};

const SPAN: i64 = 4 << 20;
/// The time that [`File::new`] writes.
const TIME: u64 = 1_700_000_000;

/// A tar under construction, with the table of contents that an honest builder would write.
#[derive(Default)]
pub(crate) struct Archive {
    tar: Vec<u8>,
    files: Vec<File>,
}

impl Archive {
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.member(
            File::new(name, 0, content.len() as i64),
            b'0',
            TIME,
            content,
        )
    }

    fn link(self, name: &str, target: &str, size: i64) -> Self {
        let mut file = File::new(name, 0, size);
        file.kind = "hardlink";
        file.linkname = target.into();
        self.member(file, b'1', TIME, b"")
    }

    fn xattr(mut self, name: &str, value: &str) -> Self {
        let key = "SCHILY.xattr.user.x";
        let record = format!(" {key}={value}\n");
        let record = format!("{}{record}", record.len() + 2);
        self.header("pax", b'x', record.len() as i64, "", TIME);
        self.content(record.as_bytes());
        let mut file = File::new(name, 0, 0);
        file.pax = vec![(key.into(), value.into())];
        self.member(file, b'0', TIME, b"")
    }

    fn member(mut self, mut file: File, typeflag: u8, time: u64, content: &[u8]) -> Self {
        let name = String::from_utf8(file.name.clone()).unwrap();
        let link = String::from_utf8(file.linkname.clone()).unwrap();
        self.header(&name, typeflag, file.size, &link, time);
        file.offset = self.tar.len() as i64;
        self.content(content);
        self.files.push(file);
        self
    }

    fn header(&mut self, name: &str, typeflag: u8, size: i64, link: &str, time: u64) {
        let mut block = [0; 512];
        let mut put =
            |at: usize, text: &str| block[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0100644\0");
        put(108, "0001750\0");
        put(116, "0000000\0");
        put(124, &format!("{size:011o}\0"));
        put(148, "        ");
        put(157, link);
        put(257, "ustar\x0000");
        block[156] = typeflag;
        block[136] = 0x80;
        block[140..148].copy_from_slice(&time.to_be_bytes());
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.tar.extend(block);
    }

    fn content(&mut self, content: &[u8]) {
        self.tar.extend(content);
        self.tar.resize(self.tar.len().next_multiple_of(512), 0);
    }

    /// The tar and its entries.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<File>) {
        self.tar.extend([0; 1024]);
        (self.tar, self.files)
    }

    /// The zTOC and the tar, which is the layer.
    fn build(self) -> (Vec<u8>, Vec<u8>) {
        let (tar, files) = self.finish();
        let size = tar.len() as i64;
        let blob = Blob {
            compressed_size: size,
            uncompressed_size: size,
            files: Some(files),
            algorithm: 2,
            max_span_id: 0,
            digests: vec![canonical::digest(&tar).unwrap().to_string().into_bytes()],
            checkpoints: tar_checkpoints(SPAN, size),
        };
        (blob.build(), tar)
    }
}

fn check(archive: Archive, expected: &[&str]) {
    let (ztoc, layer) = archive.build();
    let facts = facts(&ztoc, &layer, 4 << 20);
    let found = findings(&ztoc, &layer, facts, 4096);
    assert_eq!(codes(&found), expected, "{found:#?}");
}

#[test]
fn an_archive_made_here_is_right() {
    let archive = Archive::default();
    check(
        archive
            .file("./a", b"abc")
            .link("b", "/a", 0)
            .xattr("c", "v"),
        &[],
    );
}

#[test]
fn attributes_without_a_value_are_found() {
    check(Archive::default().xattr("a", ""), &["empty-xattr"]);
}

#[test]
fn hard_links_to_what_does_not_precede_them_are_found() {
    let archive = Archive::default().link("a", "b", 0).file("b", b"");
    check(archive, &["hardlink-target"]);
    let archive = Archive::default().file("b", b"").link("a", "c", 0);
    check(archive, &["hardlink-target"]);
}

#[test]
fn a_hard_link_with_a_size_is_found() {
    let archive = Archive::default().file("a", b"abc").link("b", "a", 3);
    check(archive, &["link-with-size"]);
    let archive = Archive::default()
        .file("a", b"abc")
        .link("b", "a", 3)
        .file("c", b"");
    check(archive, &["entry-refused", "link-with-size"]);
}

#[test]
fn times_that_cannot_be_written_are_found() {
    let mut file = File::new("a", 0, 0);
    file.time = "";
    let archive = Archive::default().member(file, b'0', 1 << 40, b"");
    check(archive, &["mtime-out-of-range"]);
}

#[test]
fn members_that_builders_refuse_are_found() {
    for typeflag in *b"7S" {
        let archive = Archive::default().member(File::new("a", 0, 0), typeflag, TIME, b"");
        check(archive, &["unsupported-member"]);
    }
}

#[test]
fn entries_that_no_member_stands_behind_are_found() {
    let mut archive = Archive::default().file("a", &[1; 3000]);
    archive.files.push(File::new("b", 2048, 0));
    let (ztoc, layer) = archive.build();
    let found = findings(&ztoc, &layer, facts(&ztoc, &layer, 4 << 20), 4096);
    assert!(codes(&found).contains(&"extra-entry"), "{found:#?}");
}

#[test]
fn swapped_entries_are_found() {
    let mut archive = Archive::default().file("a", b"abc").file("b", b"def");
    let (first, second) = (archive.files[0].name.clone(), archive.files[1].name.clone());
    archive.files[0].name = second;
    archive.files[1].name = first;
    check(archive, &["entry-mismatch"]);
}

#[test]
fn a_time_zone_that_changes_the_digest_is_found() {
    let mut archive = Archive::default().file("a", b"abc");
    archive.files[0].time = "2023-11-15T03:43:20+05:30";
    check(archive, &["local-time-zone"]);
}

#[test]
fn records_that_were_left_out_are_no_fault() {
    let mut archive = Archive::default();
    let record = b"14 comment=ab\n";
    archive.header("pax", b'x', record.len() as i64, "", TIME);
    archive.content(record);
    check(archive.file("a", b""), &["records-left-out"]);
}

#[test]
fn an_opaque_directory_denied_is_found() {
    let (ztoc, layer) = Archive::default().file("a/.wh..wh..opq", b"").build();
    let mut facts = facts(&ztoc, &layer, 4 << 20);
    facts.disable_xattrs = true;
    let found = findings(&ztoc, &layer, facts, 4096);
    assert_eq!(codes(&found), ["disable-xattrs"], "{found:#?}");
}

#[test]
fn two_checkpoints_at_the_start_are_found() {
    let ztoc = Blob {
        checkpoints: checkpoints(2, &[(10, 0, 0), (20, 0, 0)]),
        ..Blob::default()
    };
    let ztoc = ztoc.build();
    let found = findings(&ztoc, b"", facts(&ztoc, b"", 4 << 20), 4096);
    assert_eq!(found[0].code, "checkpoint-refused", "{found:#?}");
}
