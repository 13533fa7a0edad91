//! The server, asked over real sockets. Backends are scripts of bytes where the bytes matter, and servers of hyper's where not.

mod failures;
mod hostile;
mod passing;
mod stage;
mod tls;
