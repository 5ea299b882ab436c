//! Connections: accepted on one thread for all ports, bounded in number and in time, served on the runtime of their port.
//!
//! ```text
//! accept ─▶ first bytes ─▶ health: answered on this thread
//! (a share     │      └──▶ TLS or garbage: closed, and said
//!  per port)   └─────────▶ HTTP: moved to the port's runtime ─▶ router
//! ```
//!
//! | module   | does                                                                              |
//! |----------|-----------------------------------------------------------------------------------|
//! | `limits` | [`ConnectionLimits`]: how many, how long, how slow                                |
//! | `stats`  | [`ConnectionStats`]: what became of connections, by port and reason               |
//! | `front`  | [`Front`]: the accepting thread, a port's share, the end of them all              |
//! | `first`  | what the first bytes of a connection say                                          |
//! | `open`   | the connections that are open, which of them overran its time, and which has to go |
//! | `stream` | a socket that notes when it was read and when nobody takes what it writes         |
//! | `serve`  | one connection, from its first request to its last                                |
//! | `body`   | bodies of requests, which have to come, and of answers, which have to be taken    |

mod body;
mod first;
mod front;
mod limits;
mod open;
mod serve;
mod stats;
mod stream;

pub(crate) use body::too_slow;
pub(crate) use front::{Front, Port, free_descriptors};
pub use limits::ConnectionLimits;
pub use stats::{ConnectionStats, Count, PortConnections};
