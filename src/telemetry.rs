//! Logs: for people on a terminal, one line per event otherwise; always on stderr, since stdout is for data.

use std::io::{self, IsTerminal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Our own words at `info`, libraries only when something is wrong.
const DEFAULT: &str = "warn,driftless=info";

/// Starts logging. `DRIFTLESS_LOG`, else `RUST_LOG`, filters as `info` or `driftless::sync=debug,info` do. Later calls change
/// nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env("DRIFTLESS_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse_lossy(DEFAULT));
    let terminal = io::stderr().is_terminal();
    let logs =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(terminal).with_target(!terminal);
    // The only error is that a test or an embedding program has set up its own.
    let _ = if terminal { logs.compact().try_init() } else { logs.try_init() };
}
