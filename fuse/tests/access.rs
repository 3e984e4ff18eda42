//! Who can use a mount: root and overlayfs, with everything a container needs; nobody else, for nothing.

// clippy.toml exempts test functions, but not what they share.
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used
)]

mod support;

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fuse::{Opcode, Options};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use support::tar::Tar;
use support::{Mounted, mount_tar, mount_whole, program};

const NOBODY: u32 = 65534;

#[test]
fn the_mount_is_as_strict_as_can_be() {
    let mounted = mount_whole("tiny-gz");
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let path = mounted.path.to_str().unwrap();
    let line = table
        .lines()
        .find(|line| line.split(' ').nth(4) == Some(path))
        .unwrap();
    let (place, kind) = line.split_once(" - ").unwrap();
    let flags: Vec<_> = place.split(' ').nth(5).unwrap().split(',').collect();
    for flag in ["ro", "nosuid", "nodev", "noexec", "nosymfollow", "noatime"] {
        assert!(flags.contains(&flag), "{flag} is missing: {line}");
    }
    let [kind, source, options] = kind.split(' ').collect::<Vec<_>>().try_into().unwrap();
    assert_eq!((kind, source), ("fuse.rawBridge", "soci"));
    let options: Vec<_> = options.split(',').collect();
    assert!(options.contains(&"default_permissions"), "{line}");
    assert!(!options.contains(&"allow_other"), "{line}");
}

#[test]
fn the_kernel_reads_ahead_as_far_as_it_is_told() {
    let options = Options {
        read_ahead: 384,
        ..Options::default()
    };
    let mounted = mount_tar(&Tar::default().finish(), &options);
    let device = fs::metadata(&mounted.path).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let path = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    assert_eq!(fs::read_to_string(path).unwrap().trim(), "384");
}

/// Runs `program` as somebody without rights.
fn as_nobody(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.uid(NOBODY).gid(NOBODY);
    command
}

#[test]
fn nobody_but_root_can_look_into_the_mount() {
    let mounted = mount_whole("pax");
    fs::write(mounted.dir.path().join("beside"), "x").unwrap();
    let read = |path: &Path| {
        let output = as_nobody("/bin/cat").arg(path).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(
        read(&mounted.dir.path().join("beside")),
        (true, String::new())
    );
    // 0644, and yet:
    let (done, message) = read(&mounted.join("bigid"));
    assert!(!done && message.contains("Permission denied"), "{message}");
    let listed = as_nobody("/bin/ls").arg(&mounted.path).output().unwrap();
    assert!(!listed.status.success());
}

#[test]
fn nothing_can_be_changed_run_or_followed() {
    let mounted = mount_whole("pax");
    let file = mounted.join("bigid");
    let write = OpenOptions::new().write(true).open(&file).unwrap_err();
    assert_eq!(write.kind(), ErrorKind::ReadOnlyFilesystem);
    assert_eq!(
        fs::remove_file(&file).unwrap_err().kind(),
        ErrorKind::ReadOnlyFilesystem
    );
    let run = Command::new(mounted.join("setuid")).status().unwrap_err();
    assert_eq!(run.kind(), ErrorKind::PermissionDenied);
    let device = OpenOptions::new()
        .write(true)
        .open(mounted.join("dev/null"))
        .unwrap_err();
    assert_eq!(device.kind(), ErrorKind::PermissionDenied);
    let follow = fs::read(mounted.join("etc/link")).unwrap_err();
    assert_eq!(follow.raw_os_error(), Some(nix::libc::ELOOP));
}

/// A writable overlay on top of mounted layers, as a container sees them.
struct Overlay {
    path: PathBuf,
    scratch: PathBuf,
}

impl Overlay {
    fn new(lower: &Mounted, more: &[&Path]) -> Overlay {
        let scratch = lower.dir.path().join("scratch");
        let path = lower.dir.path().join("merged");
        fs::create_dir(&scratch).unwrap();
        fs::create_dir(&path).unwrap();
        let none = None::<&str>;
        mount(
            Some("tmpfs"),
            &scratch,
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .unwrap();
        let overlay = Overlay { path, scratch };
        let (upper, work) = (overlay.scratch.join("upper"), overlay.scratch.join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let mut lowers = lower.path.display().to_string();
        for more in more {
            lowers = format!("{lowers}:{}", more.display());
        }
        let options = format!(
            "lowerdir={lowers},upperdir={},workdir={}",
            upper.display(),
            work.display()
        );
        let kind = Some("overlay");
        mount(
            kind,
            &overlay.path,
            kind,
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .unwrap();
        overlay
    }

    fn join(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        for path in [&self.path, &self.scratch] {
            let _ = umount2(path, MntFlags::MNT_DETACH);
        }
    }
}

#[test]
fn a_container_runs_programs_becomes_root_and_opens_devices() {
    let program = fs::read(program::path()).unwrap();
    let tar = Tar::default()
        .directory("./", 0o755)
        .directory("bin/", 0o755)
        .file("bin/plain", 0o755, &program)
        .file("bin/root", 0o4755, &program)
        .file("secret", 0o600, b"x")
        .device("null", 0o666, (1, 3));
    let mounted = mount_tar(&tar.finish(), &Options::default());
    let overlay = Overlay::new(&mounted, &[]);
    let euid = |program: &str| {
        let output = as_nobody(overlay.join(program))
            .arg("euid")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(euid("bin/plain"), "65534\n");
    assert_eq!(euid("bin/root"), "0\n");
    let mut null = OpenOptions::new()
        .write(true)
        .open(overlay.join("null"))
        .unwrap();
    null.write_all(b"gone").unwrap();
    assert!(
        !as_nobody("/bin/cat")
            .arg(overlay.join("secret"))
            .output()
            .unwrap()
            .status
            .success()
    );

    let plain = overlay.join("bin/plain");
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read(&plain).unwrap(), program);
    assert_eq!(fs::metadata(&plain).unwrap().mode() & 0o7777, 0o700);
}

#[test]
fn what_a_layer_removes_is_gone_and_costs_one_question() {
    let mounted = mount_whole("pax");
    let below = mounted.dir.path().join("below");
    for directory in ["etc", "opq"] {
        fs::create_dir_all(below.join(directory)).unwrap();
    }
    for file in ["etc/gone", "etc/kept", "opq/hidden"] {
        fs::write(below.join(file), "below").unwrap();
    }
    let overlay = Overlay::new(&mounted, &[&below]);
    assert!(!overlay.join("etc/gone").exists());
    assert!(overlay.join("etc/kept").exists());
    assert!(!overlay.join("opq/hidden").exists());
    assert_eq!(
        fs::read(overlay.join("etc/link")).unwrap(),
        fs::read(overlay.join("etc/hard")).unwrap()
    );

    let missing = overlay.join("etc/nothing");
    assert!(!missing.exists());
    let before = mounted.counters().of(Opcode::Lookup);
    for _ in 0..10 {
        assert!(!missing.exists());
    }
    assert_eq!(mounted.counters().of(Opcode::Lookup), before);
}

#[test]
fn an_unmount_of_an_idle_layer_ends_its_thread_at_once() {
    let mut mounted = mount_whole("pax");
    fs::read(mounted.join("big")).unwrap();
    let mount = mounted.mount.take().unwrap();
    let counters = std::sync::Arc::downgrade(mount.counters());
    mount.unmount().unwrap();
    assert_eq!(counters.strong_count(), 0, "the thread still has them");
    assert!(!mounted.join("big").exists());
}

#[test]
fn an_unmounted_layer_serves_whoever_still_uses_it() {
    let mut mounted = mount_whole("pax");
    let overlay = Overlay::new(&mounted, &[]);
    let mount = mounted.mount.take().unwrap();
    let counters = std::sync::Arc::clone(mount.counters());
    mount.unmount().unwrap();
    assert!(fs::read_dir(&mounted.path).unwrap().next().is_none());
    let before = counters.of(Opcode::Read);
    assert_eq!(fs::read(overlay.join("big")).unwrap().len(), 600_000);
    assert!(counters.of(Opcode::Read) > before);
}
