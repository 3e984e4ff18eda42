//! Where an index, or an image with its index, is written to.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};

use super::extent::Extent;
use super::source::Source;
use crate::content::Content;
use crate::error::Error;

/// What keeps a content alive in a store with a garbage collector; other stores ignore them.
pub(crate) type Labels = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    New,
    /// It was there before; nothing was transferred.
    Present,
}

pub(crate) trait Sink: Send + Sync {
    /// Names the store in messages.
    fn place(&self) -> String;

    fn write<'a>(
        &'a self,
        content: &'a Content,
        bytes: Bytes,
        labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>>;

    /// Takes over a content of another store, checking its digest.
    fn copy<'a>(
        &'a self,
        content: &'a Content,
        from: &'a Arc<dyn Source>,
    ) -> BoxFuture<'a, Result<Written, Error>>;

    /// Tells where a content lies whose digest was checked: copying it later need not do so again.
    fn verified<'a>(&'a self, _content: &'a Content, _extent: Extent) -> BoxFuture<'a, ()> {
        std::future::ready(()).boxed()
    }

    /// Gives the image its name, after all its parts were written.
    fn name<'a>(
        &'a self,
        root: &'a Content,
        bytes: Bytes,
        labels: Labels,
    ) -> BoxFuture<'a, Result<Written, Error>>;
}
