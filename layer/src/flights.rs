//! One flight per span: whoever needs a span that is under way waits for it.

use crate::error::Error;
use crate::urgency::{Urgency, Wanted};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::watch;

pub(crate) type Outcome = Result<Bytes, Error>;

#[derive(Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<u32, UnderWay>>,
}

struct UnderWay {
    outcome: watch::Receiver<Option<Outcome>>,
    wanted: Arc<Wanted>,
}

/// What `claim` found out about one span.
pub(crate) enum Claim<P> {
    Present(P),
    Flight(Flight),
    Lead(Lead),
}

/// The duty to bring one span. A lead that is dropped without an outcome lets its waiters claim again.
pub(crate) struct Lead {
    pub(crate) span: u32,
    outcome: watch::Sender<Option<Outcome>>,
    pub(crate) wanted: Arc<Wanted>,
    flights: Arc<Flights>,
}

/// Somebody brings this span.
pub(crate) struct Flight(watch::Receiver<Option<Outcome>>);

impl Flights {
    pub(crate) fn has(&self, span: u32) -> bool {
        self.under_way.lock().contains_key(&span)
    }

    /// Asks `present` only where nobody is bringing the span. A lead ends after its span has become present:
    /// so a span is at no moment neither present nor under way.
    pub(crate) fn claim<P>(
        self: &Arc<Self>,
        spans: &[u32],
        urgency: Urgency,
        present: impl Fn(u32) -> Option<P>,
    ) -> Vec<(u32, Claim<P>)> {
        let wanted = Arc::new(Wanted::new(urgency));
        let mut under_way = self.under_way.lock();
        let mut claim = |span| {
            if let Some(flight) = under_way.get(&span) {
                flight.wanted.raise(urgency);
                return Claim::Flight(Flight(flight.outcome.clone()));
            }
            if let Some(present) = present(span) {
                return Claim::Present(present);
            }
            let (sender, outcome) = watch::channel(None);
            let wanted = Arc::clone(&wanted);
            let entry = UnderWay {
                outcome,
                wanted: Arc::clone(&wanted),
            };
            under_way.insert(span, entry);
            Claim::Lead(Lead {
                span,
                outcome: sender,
                wanted,
                flights: Arc::clone(self),
            })
        };
        spans.iter().map(|&span| (span, claim(span))).collect()
    }
}

impl Lead {
    /// Wakes everybody who waits. The span stays claimed until the lead is dropped.
    pub(crate) fn announce(&self, outcome: Outcome) {
        self.outcome.send_replace(Some(outcome));
    }

    pub(crate) fn flight(&self) -> Flight {
        Flight(self.outcome.subscribe())
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.flights.under_way.lock().remove(&self.span);
    }
}

impl Flight {
    /// None when the lead died: claim again.
    pub(crate) async fn wait(mut self) -> Option<Outcome> {
        let outcome = self.0.wait_for(Option::is_some).await.ok()?;
        outcome.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(flights: &Arc<Flights>, span: u32) -> Claim<()> {
        let mut claims = flights.claim(&[span], Urgency::Background, |_| None);
        claims.pop().unwrap().1
    }

    #[tokio::test]
    async fn waiters_of_a_dead_lead_are_not_stranded() {
        let flights = Arc::new(Flights::default());
        let Claim::Lead(lead) = check(&flights, 3) else {
            panic!("nobody else is here")
        };
        let Claim::Flight(flight) = check(&flights, 3) else {
            panic!("the lead is under way")
        };
        drop(lead);
        assert!(flight.wait().await.is_none());
        assert!(matches!(check(&flights, 3), Claim::Lead(_)));
    }

    #[tokio::test]
    async fn whoever_joins_lends_a_flight_his_urgency() {
        use futures_util::FutureExt as _;
        let flights = Arc::new(Flights::default());
        let Claim::Lead(lead) = check(&flights, 3) else {
            panic!("nobody else is here")
        };
        let is_above = |urgency| lead.wanted.above(urgency).now_or_never().is_some();
        assert!(!is_above(Urgency::Background));
        flights.claim(&[3], Urgency::Reader, |_| None::<()>);
        flights.claim(&[3], Urgency::Soon, |_| None::<()>);
        assert_eq!(lead.wanted.urgency(), Urgency::Reader);
        assert!(is_above(Urgency::Soon));
    }

    #[tokio::test]
    async fn an_outcome_reaches_those_who_come_before_and_after() {
        let flights = Arc::new(Flights::default());
        let Claim::Lead(lead) = check(&flights, 3) else {
            panic!("nobody else is here")
        };
        let Claim::Flight(early) = check(&flights, 3) else {
            panic!("the lead is under way")
        };
        lead.announce(Ok(Bytes::from_static(b"span")));
        let Claim::Flight(late) = check(&flights, 3) else {
            panic!("the lead is not dropped")
        };
        assert_eq!(early.wait().await.unwrap().unwrap(), "span");
        drop(lead);
        assert_eq!(late.wait().await.unwrap().unwrap(), "span");
    }
}
