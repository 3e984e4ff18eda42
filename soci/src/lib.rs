//! soci
