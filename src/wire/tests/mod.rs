//! Tests of the links: over the in-memory transport, with the real gRPC stack in between.

mod conversions;
mod gates;
mod links;
mod logs;
mod relays;
mod samples;
mod sockets;
