//! Who is waiting now, so that work nobody waits for can stand back.

use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

#[derive(Default)]
pub(crate) struct Readers {
    state: Mutex<State>,
    idle: Notify,
}

#[derive(Default)]
struct State {
    waiting: usize,
    last_left: Option<Instant>,
}

/// A reader that waits until this is dropped.
pub(crate) struct Waiting(Arc<Readers>);

impl Readers {
    pub(crate) fn enter(self: &Arc<Self>) -> Waiting {
        self.state.lock().waiting += 1;
        Waiting(Arc::clone(self))
    }

    pub(crate) fn is_waited_for(&self) -> bool {
        self.state.lock().waiting > 0
    }

    /// Returns once no reader waits and none has for `silence`.
    pub(crate) async fn quiet(&self, silence: Duration) {
        loop {
            let idle = self.idle.notified();
            let (waiting, last_left) = {
                let state = self.state.lock();
                (state.waiting, state.last_left)
            };
            if waiting > 0 {
                idle.await;
                continue;
            }
            match last_left.map(|left| left + silence) {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => return,
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let idle = {
            let mut state = self.0.state.lock();
            state.waiting -= 1;
            state.last_left = Some(Instant::now());
            state.waiting == 0
        };
        if idle {
            self.0.idle.notify_waiters();
        }
    }
}
