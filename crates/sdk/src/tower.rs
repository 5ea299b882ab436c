//! Middleware for everything that is a `tower::Service` of `http::Request`.

mod client;
mod server;

pub use client::{ClientFuture, ClientLayer, ClientService};
pub use server::{RequestId, ServerFuture, ServerLayer, ServerService};

#[cfg(test)]
mod tests;
