//! Tracewell's spans of gRPC calls, for tonic's clients and servers
