//! Parse, run, print the error chain once, exit code.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match driftless::cli::parse().and_then(driftless::cli::run) {
        Ok(code) => code,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(anstream::stderr(), "{}", error.render());
            ExitCode::FAILURE
        }
    }
}
