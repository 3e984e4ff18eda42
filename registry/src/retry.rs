//! The one retry loop: mirrors in order, then the registry; then a pause, then all of them again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::counters::{Counters, add};
use crate::endpoint::Endpoint;
use crate::health::Health;
use crate::{Error, Options};

pub(crate) struct Retry {
    max_retries: u32,
    min_wait: Duration,
    max_wait: Duration,
    health: Health,
    counters: Arc<Counters>,
}

impl Retry {
    pub(crate) fn new(options: &Options, counters: Arc<Counters>) -> Self {
        Retry {
            max_retries: options.max_retries,
            min_wait: options.min_wait,
            max_wait: options.max_wait,
            health: Health::default(),
            counters,
        }
    }

    pub(crate) fn max_retries(&self) -> u32 {
        self.max_retries
    }

    /// Runs `operation` on the endpoints until one succeeds. The last endpoint is the registry
    /// itself: its failure is final unless transient. The caller's deadline is to drop the future.
    pub(crate) async fn run<T, F, Fut>(
        &self,
        endpoints: &[Arc<Endpoint>],
        operation: F,
    ) -> Result<T, Error>
    where
        F: Fn(Arc<Endpoint>) -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let no_host = || Error::Options {
            reason: "no host to ask".to_owned(),
        };
        let (origin, mirrors) = endpoints.split_last().ok_or_else(no_host)?;
        let mut round = 0;
        loop {
            for mirror in mirrors {
                // Where even the registry fails, a mirror's last failure is no reason to leave it out.
                if round == 0 && self.health.is_down(&mirror.host, Instant::now()) {
                    continue;
                }
                match timed(mirror, &operation).await {
                    Ok(value) => {
                        self.health.answered(&mirror.host);
                        return Ok(value);
                    }
                    Err(error) => self.note(mirror, &error),
                }
            }
            let error = match timed(origin, &operation).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            if !error.is_transient() || round >= self.max_retries {
                return Err(error);
            }
            let pause = self.pause(round, error.retry_after());
            round = round.saturating_add(1);
            add(&self.counters.retries, 1);
            tracing::debug!(
                host = %origin.host,
                repository = %origin.repository,
                %error,
                round,
                pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
                "retrying"
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// A mirror may lack an image or the right to it without being broken; one that lies is broken.
    pub(crate) fn note(&self, mirror: &Endpoint, error: &Error) {
        let is_broken = error.is_transient()
            || matches!(
                error,
                Error::Digest { .. } | Error::Range { .. } | Error::Malformed { .. }
            );
        if is_broken {
            self.health
                .failed(&mirror.host, Instant::now(), error.retry_after());
        }
        tracing::debug!(
            mirror = %mirror.host,
            repository = %mirror.repository,
            %error,
            is_broken,
            "mirror failed, asking the next host"
        );
    }

    /// The pause after this many failures in a row.
    pub(crate) async fn wait(&self, round: u32) {
        add(&self.counters.retries, 1);
        tokio::time::sleep(self.pause(round, None)).await;
    }

    fn pause(&self, round: u32, asked: Option<Duration>) -> Duration {
        match asked {
            Some(asked) => asked
                .saturating_add(jitter(self.min_wait))
                .min(self.max_wait),
            None => jitter(bound(round, self.min_wait, self.max_wait)),
        }
    }
}

async fn timed<T, F, Fut>(endpoint: &Arc<Endpoint>, operation: &F) -> Result<T, Error>
where
    F: Fn(Arc<Endpoint>) -> Fut,
    Fut: Future<Output = Result<T, Error>>,
{
    let after = endpoint.request_timeout;
    let timeout = |_| Error::Timeout {
        target: format!("{}/{}", endpoint.host, endpoint.repository),
        what: "a request",
        after,
    };
    tokio::time::timeout(after, operation(endpoint.clone()))
        .await
        .unwrap_or_else(|t| Err(timeout(t)))
}

fn bound(round: u32, min: Duration, max: Duration) -> Duration {
    min.saturating_mul(2_u32.saturating_pow(round)).min(max)
}

/// Full jitter: readers that failed together do not come back together.
fn jitter(bound: Duration) -> Duration {
    Duration::try_from_secs_f64(bound.as_secs_f64() * fastrand::f64()).unwrap_or(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(round: u32, expected_ms: u64) {
        let (min, max) = (Duration::from_millis(30), Duration::from_secs(300));
        assert_eq!(
            bound(round, min, max),
            Duration::from_millis(expected_ms),
            "round {round}"
        );
    }

    #[test]
    fn pauses_double_up_to_their_bound() {
        check(0, 30);
        check(1, 60);
        check(7, 3840);
        check(13, 245_760);
        check(14, 300_000);
        check(u32::MAX, 300_000);
    }

    #[test]
    fn a_server_cannot_ask_for_an_endless_pause() {
        let options = Options {
            max_wait: Duration::from_secs(5),
            ..Options::default()
        };
        let retry = Retry::new(&options, Arc::default());
        assert_eq!(
            retry.pause(0, Some(Duration::from_secs(u64::MAX))),
            Duration::from_secs(5)
        );
        assert!(retry.pause(0, Some(Duration::from_secs(2))) >= Duration::from_secs(2));
        assert!(retry.pause(3, None) <= Duration::from_millis(240));
        jitter(Duration::MAX);
    }
}
