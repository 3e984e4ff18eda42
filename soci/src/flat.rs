//! FlatBuffers reader.
