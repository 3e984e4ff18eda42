//! `soci`.

fn main() {}
