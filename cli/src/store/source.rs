//! Where an image is read from.

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};

use super::extent::Extent;
use crate::content::{Chunks, Content};
use crate::error::Error;

pub(crate) trait Source: Send + Sync {
    /// Names the store in messages.
    fn place(&self) -> String;

    /// What the image's name points to.
    fn root(&self) -> BoxFuture<'_, Result<Content, Error>>;

    /// A whole content, verified; `None` where the store does not hold it.
    fn read<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<Option<Bytes>, Error>>;

    fn holds<'a>(&'a self, content: &'a Content) -> BoxFuture<'a, Result<bool, Error>>;

    /// The bytes from an offset on.
    fn stream<'a>(
        &'a self,
        content: &'a Content,
        offset: u64,
    ) -> BoxFuture<'a, Result<Chunks, Error>>;

    /// Where the content lies, for stores of plain files.
    fn extent<'a>(&'a self, _content: &'a Content) -> BoxFuture<'a, Result<Option<Extent>, Error>> {
        std::future::ready(Ok(None)).boxed()
    }
}

/// A content that must be there.
pub(crate) async fn read(source: &dyn Source, content: &Content) -> Result<Bytes, Error> {
    let bytes = source.read(content).await?;
    bytes.ok_or_else(|| Error::NoContent {
        digest: content.digest.clone(),
        place: source.place(),
    })
}
