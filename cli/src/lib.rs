//! The index tool: builds, converts, pushes and checks SOCI indexes, with or without containerd.
