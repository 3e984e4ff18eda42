//! Whether a thread that waits for a read is about to die.

use std::fs;
use std::io::ErrorKind;

/// The kernel sends INTERRUPT for any signal, also for one the process handles and goes on from: a timer,
/// SIGCHLD, the SIGURG of Go's scheduler. Programs do not expect EINTR from a file, and a page fault that
/// fails with it is a SIGBUS. So, like NFS, only a signal that ends the process ends its read.
///
/// When nothing can be found out about the thread it is taken for dying: an unexpected EINTR is better
/// than a process that cannot be killed.
pub(crate) fn is_dying(thread: u32) -> bool {
    if thread == 0 {
        return true;
    }
    match fs::read_to_string(format!("/proc/{thread}/status")) {
        Ok(status) => Signals::parse(&status).is_none_or(|signals| signals.are_fatal()),
        // Out of memory for a moment, say: the caller asks again.
        Err(error) => error.kind() != ErrorKind::OutOfMemory,
    }
}

/// Bit n - 1 stands for signal n.
struct Signals {
    pending: u64,
    blocked: u64,
    ignored: u64,
    caught: u64,
}

const KILL: u64 = bit(9);

/// What these do by default does not end a process: CHLD, CONT, STOP, TSTP, TTIN, TTOU, URG, WINCH.
const HARMLESS: u64 = bit(17) | bit(18) | bit(19) | bit(20) | bit(21) | bit(22) | bit(23) | bit(28);

const fn bit(signal: u32) -> u64 {
    1 << (signal - 1)
}

impl Signals {
    fn parse(status: &str) -> Option<Signals> {
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(line.trim(), 16).ok()
        };
        Some(Signals {
            pending: field("SigPnd:")? | field("ShdPnd:")?,
            blocked: field("SigBlk:")?,
            ignored: field("SigIgn:")?,
            caught: field("SigCgt:")?,
        })
    }

    fn are_fatal(&self) -> bool {
        let survivable = self.blocked | self.ignored | self.caught | HARMLESS;
        self.pending & (KILL | !survivable) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pending: u64, blocked: u64, ignored: u64, caught: u64, fatal: bool) {
        let status = format!(
            "Name:\tx\nSigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{blocked:016x}\n\
             SigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n",
            pending & 0xffff,
            pending & !0xffff
        );
        assert_eq!(
            Signals::parse(&status).unwrap().are_fatal(),
            fatal,
            "{status}"
        );
    }

    #[test]
    fn only_a_signal_that_ends_the_process_is_fatal() {
        check(0, 0, 0, 0, false);
        check(bit(9), !0, !0, !0, true);
        check(bit(15), 0, 0, 0, true);
        check(bit(15), bit(15), 0, 0, false);
        check(bit(15), 0, bit(15), 0, false);
        check(bit(14), 0, 0, bit(14), false);
        check(bit(14), 0, 0, 0, true);
        check(bit(17) | bit(23), 0, 0, 0, false);
        check(bit(64), 0, 0, 0, true);
    }

    #[test]
    fn we_are_not_dying_and_nobody_is_dead() {
        assert!(!is_dying(std::process::id()));
        assert!(is_dying(u32::MAX));
    }
}
