//! No reader hangs: one that is killed is gone, one that waits too long gets an error.

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

use std::time::{Duration, Instant};

use fuse::Options;
use support::program::{outcome, reader};
use support::{Mounted, Silent, Whole, blob, eventually, mount};

const EIO: i32 = 5;

/// A process that waits for bytes that never come must be gone soon after SIGKILL.
#[track_caller]
fn check_killed(how: &str, more: &[&str]) {
    let mounted = mount("pax", Silent, &Options::default());
    let mut child = reader(how, &mounted.join("big"))
        .args(more)
        .spawn()
        .unwrap();
    eventually("the read waits", || mounted.counters().waited() > 0);
    // Signals of the timer, if there is one, have interrupted the read by now.
    std::thread::sleep(Duration::from_millis(100));
    assert!(
        child.try_wait().unwrap().is_none(),
        "{how}: ended by itself"
    );
    child.kill().unwrap();
    let took = eventually("the killed reader is gone", || {
        child.try_wait().unwrap().is_some()
    });
    println!("{how} {more:?}: gone {took:?} after SIGKILL");
    assert!(took < Duration::from_secs(1), "{how}: {took:?}");
}

#[test]
fn a_direct_read_that_waits_dies_of_sigkill() {
    check_killed("direct", &[]);
}

#[test]
fn a_buffered_read_that_waits_dies_of_sigkill() {
    check_killed("buffered", &[]);
}

#[test]
fn a_page_fault_that_waits_dies_of_sigkill() {
    check_killed("mapped", &[]);
}

#[test]
fn a_page_fault_without_readahead_dies_of_sigkill() {
    check_killed("scattered", &[]);
}

#[test]
fn a_direct_read_that_has_survived_signals_dies_of_sigkill() {
    check_killed("direct", &["timer"]);
}

/// Signals that the process handles must not fail a read that only takes its time.
#[track_caller]
fn check_undisturbed(how: &str) {
    let source = Whole {
        bytes: blob("pax"),
        delay: Duration::from_millis(300),
    };
    let mounted = mount("pax", source, &Options::default());
    let status = reader(how, &mounted.join("big"))
        .arg("timer")
        .status()
        .unwrap();
    assert_eq!(outcome(status), 0, "{how}");
    assert_eq!(mounted.counters().interrupted(), 0, "{how}");
}

#[test]
fn a_timer_does_not_fail_a_slow_read() {
    for how in ["direct", "buffered", "mapped", "scattered"] {
        check_undisturbed(how);
    }
}

#[test]
fn a_read_without_bytes_ends_with_an_io_error_at_the_deadline() {
    let deadline = Duration::from_millis(300);
    for how in ["direct", "buffered"] {
        let options = Options {
            deadline,
            ..Options::default()
        };
        let mounted = mount("pax", Silent, &options);
        let start = Instant::now();
        let status = reader(how, &mounted.join("big")).status().unwrap();
        let took = start.elapsed();
        println!(
            "{how}: failed after {took:?}, {} reads overdue",
            mounted.counters().overdue()
        );
        assert_eq!(outcome(status), EIO, "{how}");
        assert!(took >= deadline, "{how}: {took:?}");
        // One deadline, although the kernel asks again for a page that its readahead could not get.
        assert!(
            took < deadline + Duration::from_millis(250),
            "{how}: {took:?}"
        );
    }
}

#[test]
fn an_unmount_does_not_wait_for_stuck_readers() {
    let mut mounted: Mounted = mount("pax", Silent, &Options::default());
    let mut child = reader("direct", &mounted.join("big")).spawn().unwrap();
    eventually("the read waits", || mounted.counters().waited() > 0);
    let start = Instant::now();
    mounted.mount.take().unwrap().unmount().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    child.kill().unwrap();
    eventually("the killed reader is gone", || {
        child.try_wait().unwrap().is_some()
    });
}
