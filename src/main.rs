//! Parse, run, print the error chain once, exit code.

use clap::Parser;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    match driftless::cli::run(driftless::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // A closed stderr leaves nobody to tell.
            let _ = writeln!(anstream::stderr(), "{}", error.render());
            ExitCode::FAILURE
        }
    }
}
