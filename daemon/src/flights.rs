//! One preparation per layer: the first caller works, the others wait for what comes of it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

type Waiting<T> = watch::Receiver<Option<T>>;

#[derive(Debug)]
pub struct Flights<K, T>(Arc<Mutex<HashMap<K, Waiting<T>>>>);

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Flights(Arc::default())
    }
}

pub enum Seat<K: Eq + Hash, T> {
    Lead(Lead<K, T>),
    Follow(Follow<T>),
}

impl<K: Eq + Hash + Clone, T: Clone> Flights<K, T> {
    pub fn join(&self, key: &K) -> Seat<K, T> {
        let mut flights = self.0.lock();
        if let Some(waiting) = flights.get(key) {
            return Seat::Follow(Follow(waiting.clone()));
        }
        let (result, waiting) = watch::channel(None);
        flights.insert(key.clone(), waiting);
        Seat::Lead(Lead {
            flights: Arc::clone(&self.0),
            key: key.clone(),
            result,
        })
    }
}

/// The duty to work. Dropped without a result, it falls to one of those who wait.
pub struct Lead<K: Eq + Hash, T> {
    flights: Arc<Mutex<HashMap<K, Waiting<T>>>>,
    key: K,
    result: watch::Sender<Option<T>>,
}

impl<K: Eq + Hash, T> Lead<K, T> {
    pub fn finish(self, result: T) {
        self.result.send_replace(Some(result));
    }
}

impl<K: Eq + Hash, T> Drop for Lead<K, T> {
    fn drop(&mut self) {
        // Before the sender goes, so that whoever wakes up finds the seat free.
        self.flights.lock().remove(&self.key);
    }
}

pub struct Follow<T>(Waiting<T>);

impl<T: Clone> Follow<T> {
    /// `None` when the leader gave up.
    pub async fn result(mut self) -> Option<T> {
        let result = self.0.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(seat: Seat<u8, u8>) -> Lead<u8, u8> {
        match seat {
            Seat::Lead(lead) => lead,
            Seat::Follow(_) => panic!("somebody leads already"),
        }
    }

    fn follow(seat: Seat<u8, u8>) -> Follow<u8> {
        match seat {
            Seat::Lead(_) => panic!("nobody leads"),
            Seat::Follow(follow) => follow,
        }
    }

    #[tokio::test]
    async fn all_who_wait_get_what_the_first_one_got() {
        let flights = Flights::default();
        let first = lead(flights.join(&1));
        let others = [follow(flights.join(&1)), follow(flights.join(&1))];
        let elsewhere = lead(flights.join(&2));
        first.finish(7);
        for other in others {
            assert_eq!(other.result().await, Some(7));
        }
        drop(elsewhere);
    }

    #[tokio::test]
    async fn a_dead_leader_wakes_its_followers_to_compete() {
        let flights = Flights::default();
        let first = lead(flights.join(&1));
        let waiting = follow(flights.join(&1));
        drop(first);
        assert_eq!(waiting.result().await, None);
        lead(flights.join(&1)).finish(8);
        lead(flights.join(&1));
    }
}
