//! containerd's content and images over its socket.

mod channel;
mod lease;
mod reading;
mod writing;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use oci_spec::image::Digest;
use proto::images::v1::{
    CreateImageRequest, GetImageRequest, Image, ListImagesRequest, UpdateImageRequest,
};
use proto::types;

use super::sink::{Labels, Sink, Written};
use super::source::{Source, read};
use crate::content::{Chunks, Content};
use crate::error::Error;
use channel::Client;
pub(crate) use lease::Lease;

/// One namespace of one containerd.
#[derive(Clone)]
pub(crate) struct Containerd {
    client: Arc<Client>,
}

/// An image record and the store that holds it.
#[derive(Clone)]
pub(crate) struct Named {
    store: Containerd,
    name: String,
}

impl Containerd {
    pub(crate) async fn connect(address: &str, namespace: &str) -> Result<Self, Error> {
        let client = Client::connect(address, namespace).await?;
        Ok(Containerd {
            client: Arc::new(client),
        })
    }

    /// The same store, with everything written from here on protected from garbage collection until the
    /// lease is released.
    pub(crate) async fn leased(&self) -> Result<(Self, Lease), Error> {
        let lease = Lease::take(&self.client).await?;
        let client = Arc::new(self.client.with_lease(lease.id())?);
        Ok((Containerd { client }, lease))
    }

    pub(crate) fn named(&self, name: &str) -> Named {
        Named {
            store: self.clone(),
            name: name.to_owned(),
        }
    }

    pub(crate) async fn target(&self, name: &str) -> Result<Content, Error> {
        let request = GetImageRequest { name: name.into() };
        let answer = match self.client.images().get(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == tonic::Code::NotFound => {
                let place = self.client.place();
                let name = name.to_owned();
                return Err(Error::NoImage { name, place });
            }
            Err(status) => return Err(self.client.failed("image record", &status)),
        };
        let target = answer.image.and_then(|image| image.target);
        content(target.unwrap_or_default())
    }

    /// Names of the images that point to a content.
    pub(crate) async fn names(&self, target: &Digest) -> Result<Vec<String>, Error> {
        let request = ListImagesRequest {
            filters: vec![format!("target.digest=={target}")],
        };
        let answer = self.client.images().list(request).await;
        let answer = answer.map_err(|status| self.client.failed("image records", &status))?;
        let images = answer.into_inner().images;
        Ok(images.into_iter().map(|image| image.name).collect())
    }

    /// Adds labels to an image record.
    pub(crate) async fn label_image(
        &self,
        name: &str,
        target: &Content,
        labels: &Labels,
    ) -> Result<(), Error> {
        let keys = labels.keys().map(|key| format!("labels.{key}"));
        let request = UpdateImageRequest {
            image: Some(Image {
                name: name.to_owned(),
                labels: labels.clone().into_iter().collect(),
                // Not part of the update; yet containerd 2.3 crashes where it is missing.
                target: Some(descriptor(target)),
                ..Image::default()
            }),
            update_mask: Some(channel::mask(keys)),
            source_date_epoch: None,
        };
        let answer = self.client.images().update(request).await;
        answer.map_err(|status| self.client.failed("image record", &status))?;
        Ok(())
    }

    /// Removes a content and leaves what refers to it alone.
    pub(crate) async fn delete(&self, digest: &Digest) -> Result<(), Error> {
        writing::delete(&self.client, digest).await
    }

    /// Digests and sizes of all contents of the namespace.
    pub(crate) async fn list(&self) -> Result<Vec<(Digest, u64)>, Error> {
        reading::list(&self.client).await
    }

    /// Points an image name at a content.
    pub(crate) async fn point(&self, name: &str, target: &Content) -> Result<(), Error> {
        let image = Some(Image {
            name: name.to_owned(),
            target: Some(descriptor(target)),
            ..Image::default()
        });
        let epoch = channel::source_date_epoch();
        let create = CreateImageRequest {
            image: image.clone(),
            source_date_epoch: epoch,
        };
        match self.client.images().create(create).await {
            Ok(_) => return Ok(()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => {}
            Err(status) => return Err(self.client.failed("image record", &status)),
        }
        let update = UpdateImageRequest {
            image,
            update_mask: Some(channel::mask(["target".to_owned()])),
            source_date_epoch: epoch,
        };
        let answer = self.client.images().update(update).await;
        answer.map_err(|status| self.client.failed("image record", &status))?;
        Ok(())
    }
}

fn descriptor(content: &Content) -> types::Descriptor {
    types::Descriptor {
        media_type: content.media_type.clone(),
        digest: content.digest.to_string(),
        size: channel::signed(content.size),
        ..types::Descriptor::default()
    }
}

fn content(target: types::Descriptor) -> Result<Content, Error> {
    let size = u64::try_from(target.size).unwrap_or_default();
    Content::from_descriptor(&soci::canonical::Descriptor {
        media_type: target.media_type,
        digest: target.digest,
        size,
        ..Default::default()
    })
}

impl Source for Named {
    fn place(&self) -> String {
        self.store.client.place()
    }

    fn root(&self) -> BoxFuture<'_, Result<Content, Error>> {
        self.store.target(&self.name).boxed()
    }

    fn read<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<Option<Bytes>, Error>> {
        reading::whole(&self.store.client, content).boxed()
    }

    fn holds<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<bool, Error>> {
        let holds = async { Ok(reading::size(&self.store.client, content).await?.is_some()) };
        holds.boxed()
    }

    fn stream<'a>(
        &'a self,
        content: &'a Content,
        offset: u64,
    ) -> BoxFuture<'a, Result<Chunks, Error>> {
        reading::stream(&self.store.client, content, offset).boxed()
    }
}

impl Sink for Named {
    fn place(&self) -> String {
        self.store.client.place()
    }

    fn write<'a>(
        &'a self,
        content: &'a Content,
        bytes: Bytes,
        labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        writing::write(&self.store.client, content, bytes, labels).boxed()
    }

    fn copy<'a>(
        &'a self,
        content: &'a Content,
        from: &'a Arc<dyn Source>,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async move {
            if Source::holds(self, content).await? {
                self.store.client.add_to_lease(&content.digest).await?;
                return Ok(Written::Present);
            }
            // Images are indexed in the containerd that holds them, so this is a zTOC.
            let bytes = read(&**from, content).await?;
            writing::write(&self.store.client, content, bytes, Labels::new()).await
        }
        .boxed()
    }

    fn name<'a>(
        &'a self,
        root: &'a Content,
        bytes: Bytes,
        labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>> {
        async {
            let written = writing::write(&self.store.client, root, bytes, labels).await?;
            self.store.point(&self.name, root).await?;
            Ok(written)
        }
        .boxed()
    }
}
