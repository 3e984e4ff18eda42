//! Reads whose bytes are on their way, by the number the kernel may interrupt them with.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::signals;

/// How many reads of one mount may wait at a time.
///
/// Each is a thread that waits in the kernel, or one of the readahead requests whose number was agreed
/// on in INIT, and costs those who started it far more than us. The bound is there so that nothing is
/// unbounded; a read above it fails with EAGAIN. The device is read on: waiting here would hold up the
/// interrupts and the resident reads of everybody else.
const MOST: usize = 16_384;

/// How soon a death is noticed that follows a signal the process survived: the kernel interrupts a
/// request only once.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct Waiting {
    reads: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

/// One waiting read; gone when dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    waiting: Arc<Waiting>,
    unique: u64,
    signalled: oneshot::Receiver<()>,
}

impl Waiting {
    /// `None` if there are too many.
    pub(crate) fn register(self: &Arc<Self>, unique: u64) -> Option<Ticket> {
        let (sender, signalled) = oneshot::channel();
        let mut reads = self.reads.lock();
        if reads.len() >= MOST {
            return None;
        }
        reads.insert(unique, sender);
        Some(Ticket {
            waiting: Arc::clone(self),
            unique,
            signalled,
        })
    }

    /// The kernel interrupts only what it has handed over, and one thread takes everything from it: a
    /// read that is not here has been answered already.
    pub(crate) fn interrupt(&self, unique: u64) {
        if let Some(read) = self.reads.lock().remove(&unique) {
            // Its task may have ended just now.
            let _ = read.send(());
        }
    }

    /// Ends every wait: the connection is gone, and its descriptor should not live on in them.
    pub(crate) fn close(&self) {
        self.reads.lock().clear();
    }
}

impl Ticket {
    /// Returns when the thread that waits for this read is being killed, or all waiting is over.
    pub(crate) async fn killed(&mut self, thread: u32) {
        if (&mut self.signalled).await.is_err() {
            return; // closed
        }
        while !signals::is_dying(thread) {
            sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.waiting.reads.lock().remove(&self.unique);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_reads_than_allowed_are_refused_until_some_end() {
        let waiting = Arc::new(Waiting::default());
        let mut tickets: Vec<_> = (0..MOST as u64)
            .map(|unique| waiting.register(unique).unwrap())
            .collect();
        assert!(waiting.register(u64::MAX).is_none());
        tickets.pop();
        assert!(waiting.register(u64::MAX).is_some());
    }

    #[tokio::test]
    async fn an_interrupt_reaches_its_read_and_no_other() {
        let waiting = Arc::new(Waiting::default());
        let mut read = waiting.register(1).unwrap();
        let mut other = waiting.register(2).unwrap();
        waiting.interrupt(1);
        waiting.interrupt(3);
        read.killed(0).await;
        let wait = tokio::time::timeout(Duration::from_millis(20), other.killed(0));
        assert!(wait.await.is_err());
        waiting.close();
        other.killed(0).await;
    }
}
