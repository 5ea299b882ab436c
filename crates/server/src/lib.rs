//! The parts of the `tracewell` binary.
//!
//! | module    | does                                                                    |
//! |-----------|-------------------------------------------------------------------------|
//! | `cli`     | the command line: `serve` and the client commands                       |
//! | `config`  | settings from flags, environment and file                               |
//! | `serve`   | listeners, their routers, an orderly end                                |
//! | `queries` | threads that give way to those that take spans                         |
//! | `metrics` | `/metrics`: what this process does, for Prometheus                     |
//! | `output`  | everything that is printed, made safe for terminals                  |
//! | `memory`  | what becomes of memory that is given back                               |
//! | `budget`  | the memory that the process may take, and who takes it                  |
//! | `net`     | connections: accepted, bounded in number and time, ended in order        |
//! | `health`  | whether the server lives and can do its work                            |
//! | `logging` | what the program says of itself, without waiting for who reads it       |
//! | `receive` | OTLP over HTTP and gRPC: admission, decompression, decoding, the store  |
//! | `api`     | the native HTTP API and Jaeger's                                        |
//! | `guard`   | headers and host checks that protect the UI and the APIs                |
//! | `wrong_port` | what is said to spans that are sent to the port of the UI             |
//! | `checks`  | what is looked at to know whether the server can do its work            |
//! | `ui`      | the embedded web pages                                                  |
//! | `demo`    | the Image Gallery, made slow on purpose                                 |

pub mod api;
pub mod budget;
mod checks;
pub mod cli;
pub mod config;
pub mod demo;
mod guard;
pub mod health;
pub mod logging;
mod memory;
pub mod metrics;
pub mod net;
mod output;
mod queries;
pub mod receive;
pub mod serve;
pub mod ui;
mod wrong_port;
