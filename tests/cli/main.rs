//! What a person sees of each command: stdout, stderr and the exit code, whole, in an environment of their own.

mod commands;
mod hermetic;
mod packaging;
