//! A layer as its users see it, over a source that counts requests and misbehaves on demand.

mod background;
mod cache;
mod local;
mod reads;
mod support;
mod tree;
