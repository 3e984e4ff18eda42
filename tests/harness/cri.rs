//! Pulling as a kubelet does.

use std::path::Path;

use anyhow::{Context as _, Result};
use proto::cri::v1::image_service_client::ImageServiceClient;
use proto::cri::v1::{AuthConfig, ImageSpec, PullImageRequest};
use tonic::transport::Channel;

use crate::runtime::block_on;
use crate::snapshots::connect;

pub struct Cri {
    client: ImageServiceClient<Channel>,
}

impl Cri {
    pub fn connect(socket: &Path) -> Result<Self> {
        Ok(Self {
            client: ImageServiceClient::new(connect(socket)?),
        })
    }

    pub fn pull(&mut self, reference: &str) -> Result<String> {
        self.pull_as(reference, None)
    }

    /// Pulls with a user name and a password, as a kubelet with an image pull secret does.
    pub fn pull_as(&mut self, reference: &str, login: Option<(&str, &str)>) -> Result<String> {
        let auth = login.map(|(username, password)| AuthConfig {
            username: username.to_owned(),
            password: password.to_owned(),
            ..AuthConfig::default()
        });
        let request = PullImageRequest {
            image: Some(ImageSpec {
                image: reference.to_owned(),
                ..ImageSpec::default()
            }),
            auth,
            ..PullImageRequest::default()
        };
        let answer = block_on(self.client.pull_image(request))
            .with_context(|| format!("CRI PullImage {reference}"))?;
        Ok(answer.into_inner().image_ref)
    }
}
