//! One authenticated request to one endpoint: a challenge or an expired token is answered once.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use url::Url;

use crate::Error;
use crate::auth::{Auth, Grant};
use crate::challenge::Challenge;
use crate::endpoint::Endpoint;
use crate::redirect::{Ask, Errand, follow, same_origin};
use crate::status::{Failure, failure};
use crate::transport::{Reply, Transport};

pub(crate) struct Client {
    pub(crate) transport: Arc<Transport>,
    pub(crate) auth: Arc<Auth>,
}

/// What a refused request calls for.
enum Refusal {
    Answer(Challenge, Error),
    Final(Failure),
}

impl Client {
    /// An answer with a 2xx status, or what its failure means.
    pub(crate) async fn get(
        &self,
        endpoint: &Arc<Endpoint>,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<Reply, Failure> {
        self.ask(endpoint, url, Ask::get(headers)).await
    }

    /// The same of any method.
    pub(crate) async fn ask(
        &self,
        endpoint: &Arc<Endpoint>,
        url: &Url,
        ask: Ask<'_>,
    ) -> Result<Reply, Failure> {
        let mut grant = self.auth.grant(endpoint).await?;
        let mut answered = false;
        loop {
            let errand = Errand {
                home: &endpoint.base,
                authorization: grant.as_ref().map(|grant| (&endpoint.base, &grant.header)),
            };
            let reply = follow(&self.transport, &errand, url.clone(), ask).await?;
            if reply.status.is_success() {
                return Ok(reply);
            }
            // Only the registry itself may ask who we are.
            if !same_origin(&reply.url, &endpoint.base) {
                return Err(failure(reply).await);
            }
            let (challenge, error) = match self.refusal(endpoint, reply, grant.as_ref()).await {
                Refusal::Answer(challenge, error) => (challenge, error),
                Refusal::Final(failure) => return Err(failure),
            };
            if answered {
                if let Some(grant) = &grant {
                    self.auth.refused(endpoint, grant, &error);
                }
                return Err(error.into());
            }
            answered = true;
            grant = Some(
                self.auth
                    .answer(endpoint, challenge, grant.as_ref())
                    .await?,
            );
        }
    }

    async fn refusal(&self, endpoint: &Endpoint, reply: Reply, grant: Option<&Grant>) -> Refusal {
        let status = reply.status;
        let challenge = Challenge::choose(&reply.headers);
        let failure = failure(reply).await;
        let is_asked = match status {
            StatusCode::UNAUTHORIZED => true,
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST if failure.expired => true,
            StatusCode::FORBIDDEN => match grant {
                Some(grant) => self.auth.is_outdated(endpoint, grant).await,
                None => false,
            },
            _ => false,
        };
        // ECR says that a token expired without saying how to get another: it knows only Basic.
        let assumed = || {
            self.auth
                .challenge(endpoint)
                .or(failure.expired.then_some(Challenge::Basic))
        };
        match challenge.or_else(assumed).filter(|_| is_asked) {
            Some(challenge) => Refusal::Answer(challenge, denied(failure)),
            None => Refusal::Final(failure),
        }
    }
}

/// An expired token that cannot be renewed is a denial, whatever its status.
fn denied(failure: Failure) -> Error {
    match failure.error {
        Error::Status { target, status, .. } => Error::Denied {
            target,
            reason: format!("HTTP status {status}, the token has expired"),
        },
        error => error,
    }
}
