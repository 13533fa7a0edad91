//! Tunnels over real connections, with real certificates, on loopback.

mod batches;
mod faults;
mod pods;
mod streams;
mod ways;
mod world;
