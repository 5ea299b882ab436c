//! The code in docs/ compiles: each block stands here in the surroundings that a reader has. What is a test runs.

#![allow(unused, clippy::all, clippy::todo, clippy::unwrap_used, reason = "it is written to be read")]

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

include!(concat!(env!("OUT_DIR"), "/blocks.rs"));
