//! Remembers how each repository wants to be asked: one exchange at a time, its result shared until it expires.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use http::HeaderValue;
use parking_lot::Mutex;

use crate::challenge::Challenge;
use crate::endpoint::Endpoint;
use crate::error::shown;
use crate::scope;
use crate::token::{self, Bearer, Token};
use crate::transport::Transport;
use crate::{Credential, Credentials, Error};

/// How long a refused credential is not tried again: registries lock accounts that insist.
const REFUSAL: Duration = Duration::from_secs(15);
/// Longer than any process lives; `Options` may say "for ever".
const FOR_EVER: Duration = Duration::from_secs(365 * 86400);
/// Repositories remembered; the least recently used are asked for a challenge again.
const MAX_SLOTS: usize = 4096;

pub(crate) struct Auth {
    credentials: Arc<dyn Credentials>,
    transport: Arc<Transport>,
    /// Upper bound of a grant's life, and the life of a password's.
    ttl: Duration,
    slots: Mutex<HashMap<Key, Slot>>,
    next_id: AtomicU64,
}

/// The base URL names both the origin and the repository; the scope, what may be done there.
type Key = String;
type Exchange = Shared<BoxFuture<'static, Result<Grant, Error>>>;

/// The right to use one repository on one host for a while.
#[derive(Clone)]
pub(crate) struct Grant {
    id: u64,
    pub(crate) header: HeaderValue,
    credential: Option<Credential>,
    expires: Instant,
}

#[derive(Default)]
struct Slot {
    challenge: Option<Challenge>,
    grant: Option<Grant>,
    /// Weak: an exchange that nobody waits for any more ends.
    exchange: Option<WeakShared<BoxFuture<'static, Result<Grant, Error>>>>,
    refusal: Option<Refusal>,
    used: Option<Instant>,
}

struct Refusal {
    credential: Option<Credential>,
    until: Instant,
    error: Error,
}

impl Auth {
    pub(crate) fn new(
        credentials: Arc<dyn Credentials>,
        transport: Arc<Transport>,
        ttl: Duration,
    ) -> Self {
        let (slots, next_id) = (Mutex::default(), AtomicU64::new(0));
        Auth {
            credentials,
            transport,
            ttl: ttl.min(FOR_EVER),
            slots,
            next_id,
        }
    }

    /// What to send first. `None` where the host never asked, or asked for what we do not have.
    pub(crate) async fn grant(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
    ) -> Result<Option<Grant>, Error> {
        let now = Instant::now();
        let challenge = {
            let mut slots = self.slots.lock();
            let Some(slot) = slots.get_mut(&key(endpoint)) else {
                return Ok(None);
            };
            slot.used = Some(now);
            if let Some(grant) = slot.grant.as_ref().filter(|grant| now < grant.expires) {
                return Ok(Some(grant.clone()));
            }
            slot.challenge.clone()
        };
        match challenge {
            Some(challenge) => self.answer(endpoint, challenge, None).await.map(Some),
            None => Ok(None),
        }
    }

    /// Answers a challenge, given what was sent when it came. Whoever comes with an older grant than
    /// the present one, or while an exchange is under way, shares its result.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        challenge: Challenge,
        sent: Option<&Grant>,
    ) -> Result<Grant, Error> {
        let exchange = {
            let now = Instant::now();
            let mut slots = self.slots.lock();
            make_room(&mut slots, now);
            let slot = slots.entry(key(endpoint)).or_default();
            slot.used = Some(now);
            let current = slot.grant.as_ref().filter(|grant| now < grant.expires);
            if let Some(grant) = current.filter(|grant| sent.is_none_or(|sent| sent.id != grant.id))
            {
                return Ok(grant.clone());
            }
            match slot.exchange.as_ref().and_then(WeakShared::upgrade) {
                Some(exchange) => exchange,
                None => {
                    slot.grant = None;
                    slot.challenge = Some(challenge.clone());
                    let exchange = self.clone().exchange(endpoint.clone(), challenge);
                    let exchange: Exchange = exchange.boxed().shared();
                    slot.exchange = exchange.downgrade();
                    exchange
                }
            }
        };
        exchange.await
    }

    /// How the endpoint asked the last time.
    pub(crate) fn challenge(&self, endpoint: &Endpoint) -> Option<Challenge> {
        self.slots.lock().get(&key(endpoint))?.challenge.clone()
    }

    /// The host did not accept a grant made a moment ago.
    pub(crate) fn refused(&self, endpoint: &Endpoint, grant: &Grant, error: &Error) {
        let mut slots = self.slots.lock();
        if let Some(slot) = slots.get_mut(&key(endpoint))
            && slot
                .grant
                .as_ref()
                .is_some_and(|current| current.id == grant.id)
        {
            slot.grant = None;
            slot.refusal = Some(Refusal::new(grant.credential.clone(), error.clone()));
        }
    }

    /// Somebody has given us another credential since this grant was made.
    pub(crate) async fn is_outdated(&self, endpoint: &Endpoint, grant: &Grant) -> bool {
        let present = self.credentials.get(&endpoint.host).await;
        present.is_ok_and(|credential| credential != grant.credential)
    }

    async fn exchange(
        self: Arc<Self>,
        endpoint: Arc<Endpoint>,
        challenge: Challenge,
    ) -> Result<Grant, Error> {
        let result = self.make_grant(&endpoint, &challenge).await;
        let mut slots = self.slots.lock();
        if let Entry::Occupied(mut slot) = slots.entry(key(&endpoint)) {
            let slot = slot.get_mut();
            slot.exchange = None;
            if let Ok(grant) = &result {
                slot.grant = Some(grant.clone());
                slot.refusal = None;
            }
        }
        result
    }

    async fn make_grant(&self, endpoint: &Endpoint, challenge: &Challenge) -> Result<Grant, Error> {
        let credential = self.credentials.get(&endpoint.host).await?;
        if let Some(error) = self.standing_refusal(endpoint, credential.as_ref()) {
            return Err(error);
        }
        let result = match challenge {
            Challenge::Basic => self.basic(endpoint, credential.as_ref()),
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let bearer = Bearer {
                    realm,
                    service: service.as_deref(),
                    scope: &scope::wanted(endpoint, scope.as_deref()),
                };
                token::exchange(&self.transport, endpoint, &bearer, credential.as_ref()).await
            }
        };
        match result {
            Ok(Token { header, lifetime }) => {
                // Renewed before the last second, lest it expire on its way.
                let lifetime = (lifetime - lifetime / 10).min(self.ttl);
                let expires = Instant::now()
                    .checked_add(lifetime)
                    .unwrap_or_else(Instant::now);
                let id = self.next_id.fetch_add(1, Ordering::Relaxed);
                Ok(Grant {
                    id,
                    header,
                    credential,
                    expires,
                })
            }
            Err(error) => {
                if error.is_denied() {
                    let mut slots = self.slots.lock();
                    if let Some(slot) = slots.get_mut(&key(endpoint)) {
                        slot.refusal = Some(Refusal::new(credential, error.clone()));
                    }
                }
                Err(error)
            }
        }
    }

    fn basic(&self, endpoint: &Endpoint, credential: Option<&Credential>) -> Result<Token, Error> {
        let denied = |reason: &str| Error::Denied {
            target: shown(&endpoint.base),
            reason: reason.to_owned(),
        };
        let Some(Credential::Password { username, secret }) = credential else {
            return Err(denied("the host wants a user name and a password"));
        };
        let header = token::basic(username, secret).map_err(denied)?;
        Ok(Token {
            header,
            lifetime: self.ttl,
        })
    }

    fn standing_refusal(
        &self,
        endpoint: &Endpoint,
        credential: Option<&Credential>,
    ) -> Option<Error> {
        let slots = self.slots.lock();
        let refusal = slots.get(&key(endpoint))?.refusal.as_ref()?;
        let stands = Instant::now() < refusal.until && refusal.credential.as_ref() == credential;
        stands.then(|| refusal.error.clone())
    }
}

impl Refusal {
    fn new(credential: Option<Credential>, error: Error) -> Refusal {
        Refusal {
            credential,
            until: Instant::now() + REFUSAL,
            error,
        }
    }
}

fn key(endpoint: &Endpoint) -> Key {
    format!("{} {}", endpoint.base, endpoint.scope)
}

fn make_room(slots: &mut HashMap<Key, Slot>, now: Instant) {
    if slots.len() < MAX_SLOTS {
        return;
    }
    slots.retain(|_, slot| slot.grant.as_ref().is_some_and(|grant| now < grant.expires));
    if slots.len() >= MAX_SLOTS {
        let oldest = slots
            .iter()
            .min_by_key(|(_, slot)| slot.used)
            .map(|(key, _)| key.clone());
        oldest.map(|key| slots.remove(&key));
    }
}
