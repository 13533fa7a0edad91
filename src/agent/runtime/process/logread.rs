//! Reading the log of a process: what there is, and on request what is still to come.

use super::logfile::Printer;
use super::store::{Entry, failed};
use crate::agent::runtime::{LogOptions, RuntimeError};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(150);

/// Bytes that are sent at once.
const CHUNK: usize = 64 * 1024;

/// Chunks that are read ahead of the receiver.
const AHEAD_MAX: usize = 4;

/// The receiver is gone: nobody wants more.
struct Gone;

/// Streams the log; ends when it was read, or with `follow` when the process has ended.
pub(super) fn read(entry: Entry, options: LogOptions) -> BoxStream<'static, Result<Bytes, RuntimeError>> {
    let (chunks, receiver) = mpsc::channel(AHEAD_MAX);
    tokio::spawn(async move {
        let output = Output { entry: &entry, chunks, printer: Printer::new(options) };
        // Its error says that nobody listens.
        let _ = copy(output, options).await;
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn copy(mut output: Output<'_>, options: LogOptions) -> Result<(), Gone> {
    let entry = output.entry;
    let mut tail = Tail { path: entry.record.log.clone(), file: None, rest: Vec::new() };
    // Opened first: what is rotated away while the older files are read is still read to its end.
    tail.open().await;
    let mut older = entry.log_files();
    older.pop();
    match options.tail {
        Some(lines) => output.send(tail.last_lines(&older, lines).await).await?,
        None => {
            for path in older {
                output.send(read_whole(&path).await).await?;
            }
        }
    }
    loop {
        // Asked before reading: what was written before the end is then read.
        let running = entry.exit().is_none() && entry.record.shim.is_alive();
        tail.drain(&mut output).await?;
        if !options.follow || !running {
            return Ok(());
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// Where the lines go.
struct Output<'a> {
    entry: &'a Entry,
    chunks: mpsc::Sender<Result<Bytes, RuntimeError>>,
    printer: Printer,
}

impl Output<'_> {
    /// Sends lines of a file as they were asked for.
    async fn send(&mut self, lines: io::Result<Vec<u8>>) -> Result<(), Gone> {
        let lines = match lines {
            Ok(lines) => self.printer.print(&lines),
            Err(error) => {
                let error = failed("cannot read the log", &self.entry.record.log, &error);
                return self.chunks.send(Err(error)).await.map_err(|_| Gone);
            }
        };
        for chunk in lines.chunks(CHUNK) {
            self.chunks.send(Ok(Bytes::copy_from_slice(chunk))).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}

/// A file that was rotated away meanwhile is empty.
async fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    match tokio::fs::read(path).await {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        outcome => outcome,
    }
}

/// The newest file, read to its end and on into its successors.
struct Tail {
    path: PathBuf,
    file: Option<tokio::fs::File>,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
}

impl Tail {
    async fn open(&mut self) {
        self.file = tokio::fs::File::open(&self.path).await.ok();
    }

    /// The last lines of everything; older files are read only if the newest has too few.
    async fn last_lines(&mut self, older: &[PathBuf], count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            file.read_to_end(&mut bytes).await?;
        }
        for path in older.iter().rev() {
            if bytes.iter().filter(|byte| **byte == b'\n').count() >= count {
                break;
            }
            let mut before = read_whole(path).await?;
            before.append(&mut bytes);
            bytes = before;
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = bytes.split_off(whole);
        let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1).collect();
        let skip = ends.len().checked_sub(count + 1).and_then(|index| ends.get(index)).copied().unwrap_or(0);
        Ok(bytes.split_off(if count == 0 { bytes.len() } else { skip }))
    }

    /// Sends everything up to the end, and goes on with the next file if this one was rotated away.
    async fn drain(&mut self, output: &mut Output<'_>) -> Result<(), Gone> {
        loop {
            let replaced = self.is_replaced().await;
            self.send_new(output).await?;
            if !replaced {
                return Ok(());
            }
            self.open().await;
        }
    }

    async fn is_replaced(&self) -> bool {
        let there = tokio::fs::metadata(&self.path).await.map(|metadata| metadata.ino()).ok();
        let ours = match &self.file {
            Some(file) => file.metadata().await.map(|metadata| metadata.ino()).ok(),
            None => None,
        };
        there.is_some() && there != ours
    }

    async fn send_new(&mut self, output: &mut Output<'_>) -> Result<(), Gone> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = match file.read(&mut buffer).await {
                Ok(0) => return Ok(()),
                Ok(length) => length,
                Err(error) => return output.send(Err(error)).await,
            };
            self.rest.extend_from_slice(&buffer[..length]);
            let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            let tail = self.rest.split_off(whole);
            let lines = std::mem::replace(&mut self.rest, tail);
            output.send(Ok(lines)).await?;
        }
    }
}
