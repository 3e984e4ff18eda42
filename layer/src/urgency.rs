//! Who comes first.

use tokio::sync::watch;

/// The most urgent is the greatest.
#[derive(Copy, Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Urgency {
    /// Each request waits for its turn.
    Background,
    /// Somebody will wait: a start-up profile, a file that is read in order.
    Soon,
    /// Somebody waits.
    Reader,
}

/// How urgent spans are that were claimed together: as urgent as the most urgent who wants any of them.
pub(crate) struct Wanted(watch::Sender<Urgency>);

impl Wanted {
    pub(crate) fn new(urgency: Urgency) -> Wanted {
        Wanted(watch::Sender::new(urgency))
    }

    pub(crate) fn urgency(&self) -> Urgency {
        *self.0.borrow()
    }

    pub(crate) fn raise(&self, to: Urgency) {
        self.0.send_if_modified(|urgency| {
            let raised = to > *urgency;
            *urgency = to.max(*urgency);
            raised
        });
    }

    /// Returns once it is more urgent than that.
    pub(crate) async fn above(&self, urgency: Urgency) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(|now| *now > urgency).await;
    }
}
