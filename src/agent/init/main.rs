//! The first program of a container whose environment holds secrets. It takes them from a file, and becomes the container's own program.
//!
//! Role: keeps secrets out of what the Engine is told, and so off its disk. In: the container's program and its arguments, as our own
//! arguments; `/.driftless/env` with `NAME=VALUE` pairs, each ended by a zero byte. Out: the program, in this very process: its number,
//! its signals, its streams and its exit code are as if it had been started directly.
//!
//! It runs in any image, so `build.rs` links it statically, and it uses nothing but the standard library. It is no part of the
//! library: the agent carries its finished file (`runtime::docker::init`), and mounts it. The place of the file, its form and the
//! arguments are a contract with containers that older versions have made: they may be added to, and never change.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

/// The secret part of the environment.
const ENVIRONMENT: &str = "/.driftless/env";

/// As a shell ends when a program cannot be run, and when there is none of that name.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let Some(program) = words.next() else {
        return fail(OsStr::new("driftless"), "there is no program to run", CANNOT_RUN);
    };
    let secrets = match fs::read(ENVIRONMENT) {
        Ok(secrets) => secrets,
        Err(error) => return fail(OsStr::new(ENVIRONMENT), &error.to_string(), CANNOT_RUN),
    };
    let error = become_program(&program, words, &secrets);
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { CANNOT_RUN };
    fail(&program, &error.to_string(), code)
}

/// Returns only if it fails. The program is looked for in the `PATH` of the new environment, as the Engine does.
fn become_program(program: &OsStr, arguments: impl Iterator<Item = OsString>, secrets: &[u8]) -> io::Error {
    Command::new(program).args(arguments).envs(pairs(secrets)).exec()
}

/// Names and values; a value may hold anything but a zero byte.
fn pairs(secrets: &[u8]) -> impl Iterator<Item = (&OsStr, &OsStr)> {
    secrets.split(|byte| *byte == 0).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&pair[..at]), OsStr::from_bytes(&pair[at + 1..])))
    })
}

/// Says why on stderr, never with a value.
fn fail(what: &OsStr, why: &str, code: u8) -> ExitCode {
    // A closed stderr leaves nobody to tell.
    let _ = writeln!(io::stderr(), "{}: {why}", what.to_string_lossy());
    ExitCode::from(code)
}
