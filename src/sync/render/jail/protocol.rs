//! What the renderer hands to the jail: one line of JSON, then the bytes of the files, one after the other.

use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Read};
use std::path::PathBuf;

/// The exit code of a jail whose tool has done its work.
pub(super) const DONE: u8 = 0;
/// The tool has failed; stderr has its words.
pub(super) const FAILED: u8 = 1;
/// The tool was killed by a signal, as the kernel does with one that uses too much cpu or memory.
pub(super) const KILLED: u8 = 3;
/// The jail cannot be made; stderr says why.
pub(super) const NO_JAIL: u8 = 4;

/// The line may have so many bytes: a hundred thousand paths.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// What to run, on what, within which bounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Order {
    /// The program, absolute and without symbolic links.
    pub(super) tool: PathBuf,
    pub(super) args: Vec<String>,
    /// The folder of the copy to run it in.
    pub(super) folder: String,
    /// The files of the copy: path, size in bytes. Every path is relative and stays below the root.
    pub(super) files: Vec<(String, u64)>,
    /// Where the copy goes without a jail; `None` for the jail.
    pub(super) unconfined: Option<PathBuf>,
    pub(super) bounds: Bounds,
}

/// What the tool may use. Each is a limit of the kernel.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Bounds {
    /// Seconds of cpu.
    pub(super) cpu_s: u64,
    /// Bytes of memory of one process.
    pub(super) memory_bytes: u64,
    /// Processes and threads.
    pub(super) tasks: u64,
    /// Bytes of its temporary files.
    pub(super) scratch_bytes: u64,
}

/// Reads an order and the bytes of its files.
pub(super) fn read(from: &mut impl BufRead) -> io::Result<(Order, Vec<Vec<u8>>)> {
    let mut line = Vec::new();
    from.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    let order: Order = serde_json::from_slice(&line)?;
    let mut contents = Vec::with_capacity(order.files.len());
    for (_, size) in &order.files {
        let mut bytes = Vec::new();
        from.by_ref().take(*size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != *size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        contents.push(bytes);
    }
    Ok((order, contents))
}
