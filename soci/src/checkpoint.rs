//! Checkpoint blobs.
