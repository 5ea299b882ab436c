//! The Image Gallery.
fn main() {}
