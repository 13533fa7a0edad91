//! The log of one process, as its shim writes it.
//!
//! One line per line of output, in the format of the container runtime interface, which log shippers know:
//! `2026-11-21T09:42:00.123Z stdout F message`. A line longer than 16 KiB is split; its parts but the last have `P` instead of `F`. A
//! file that has reached its size becomes `….log.1`, the older one `….log.2`, and so on; the oldest is deleted.

use crate::agent::runtime::{LogOptions, LogRetention};
use crate::model::Moment;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A longer line is split, as the kubelet's runtimes do.
const LINE_MAX: usize = 16 * 1024;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// Splits output into lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    rest: Vec<u8>,
}

impl Lines {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Takes output in and gives the finished lines, formatted.
    pub(super) fn push(&mut self, bytes: &[u8], now: Moment) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 64);
        let stamp = stamp(now);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(piece);
            while self.rest.len() > LINE_MAX && self.rest.last() != Some(&b'\n') || self.rest.len() > LINE_MAX + 1 {
                let tail = self.rest.split_off(LINE_MAX);
                self.format(&mut out, &stamp, b'P');
                self.rest = tail;
            }
            if self.rest.last() == Some(&b'\n') {
                self.rest.pop();
                self.format(&mut out, &stamp, b'F');
                self.rest.clear();
            }
        }
        out
    }

    /// The end of the output: an unfinished line counts as one.
    pub(super) fn finish(&mut self, now: Moment) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.rest.is_empty() {
            self.format(&mut out, &stamp(now), b'F');
            self.rest.clear();
        }
        out
    }

    fn format(&self, out: &mut Vec<u8>, stamp: &str, tag: u8) {
        let stream = match self.stream {
            Stream::Stdout => " stdout ",
            Stream::Stderr => " stderr ",
        };
        out.extend_from_slice(stamp.as_bytes());
        out.extend_from_slice(stream.as_bytes());
        out.extend_from_slice(&[tag, b' ']);
        out.extend_from_slice(&self.rest);
        out.push(b'\n');
    }
}

/// RFC 3339 in UTC with milliseconds.
fn stamp(now: Moment) -> String {
    let seconds = now.rfc3339();
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), now.0 % 1000)
}

/// The file being written, and its rotation.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    retention: LogRetention,
    file: Option<File>,
    size: u64,
}

impl LogFile {
    pub(super) fn new(path: PathBuf, retention: LogRetention) -> Self {
        Self { path, retention, file: None, size: 0 }
    }

    /// Appends finished lines. An error (a full disk) loses these lines, and the next ones are tried again: a workload must
    /// never wait for its log.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut rest = lines;
        while !rest.is_empty() {
            if self.size >= self.retention.file_bytes_max {
                self.rotate();
            }
            // The line that reaches the size is the last of its file.
            let room = usize::try_from(self.retention.file_bytes_max - self.size).unwrap_or(usize::MAX);
            let end = rest.iter().skip(room.saturating_sub(1)).position(|byte| *byte == b'\n');
            let (now, later) = rest.split_at(end.map_or(rest.len(), |end| room.saturating_sub(1) + end + 1));
            self.write(now)?;
            rest = later;
        }
        Ok(())
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = open(&self.path)?;
                self.size = file.metadata()?.len();
                self.file.insert(file)
            }
        };
        file.write_all(lines)?;
        self.size += u64::try_from(lines.len()).unwrap_or(0);
        Ok(())
    }

    fn rotate(&mut self) {
        self.file = None;
        self.size = 0;
        let kept = self.retention.files_max.max(1) - 1;
        // A file that is missing is no error, and one that cannot be renamed is written on.
        for index in (1..kept).rev() {
            let _ = fs::rename(rotated(&self.path, index), rotated(&self.path, index + 1));
        }
        let _ = if kept == 0 { fs::remove_file(&self.path) } else { fs::rename(&self.path, rotated(&self.path, 1)) };
    }

    /// Opens the file again if somebody has deleted it.
    pub(super) fn check(&mut self) {
        let there = fs::metadata(&self.path).map(|metadata| metadata.ino()).ok();
        let ours = self.file.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.ino());
        if there != ours {
            self.file = None;
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// `web.0.log.1`, the newest of the rotated files, `.2` and so on.
pub(super) fn rotated(path: &Path, index: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{index}"));
    PathBuf::from(name)
}

/// All files of a log, oldest first.
pub(super) fn files(path: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = (1..).map(|index| rotated(path, index)).take_while(|file| file.exists()).collect();
    found.reverse();
    found.push(path.to_owned());
    found
}

/// Turns lines of a file into what was asked for: tags taken off, split lines joined again, older lines left out.
#[derive(Debug)]
pub(super) struct Printer {
    /// The stamp of the first line. Stamps of one length sort as the times that they name.
    since: Option<String>,
    timestamps: bool,
    /// Within a split line: whether its beginning was shown.
    continues: Option<bool>,
}

impl Printer {
    pub(super) fn new(options: LogOptions) -> Self {
        Self { since: options.since.map(stamp), timestamps: options.timestamps, continues: None }
    }

    /// Whole lines of a file, one piece of it after the other.
    pub(super) fn print(&mut self, lines: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(lines.len());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.line(line, &mut out);
        }
        out
    }

    fn line(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let mut parts = line.splitn(4, |byte| *byte == b' ');
        let (Some(stamp), Some(_), Some(tag @ (b"P" | b"F")), Some(message)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            // Not ours, or cut off: better shown than hidden.
            return out.extend_from_slice(line);
        };
        let begins = self.continues.is_none();
        let shown = self.continues.unwrap_or_else(|| self.since.as_ref().is_none_or(|since| stamp >= since.as_bytes()));
        let split = tag == b"P";
        self.continues = split.then_some(shown);
        if !shown {
            return;
        }
        if begins && self.timestamps {
            out.extend_from_slice(stamp);
            out.push(b' ');
        }
        out.extend_from_slice(if split { message.strip_suffix(b"\n").unwrap_or(message) } else { message });
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, Lines, LogFile, Printer, Stream, files};
    use crate::agent::runtime::{LogOptions, LogRetention};
    use crate::model::Moment;

    #[test]
    fn output_becomes_stamped_lines_however_it_is_cut() {
        let mut lines = Lines::new(Stream::Stderr);
        let now = Moment(1_000_007);
        let mut out = lines.push(b"one\ntw", now);
        out.extend(lines.push(b"o\n\nrest", now));
        out.extend(lines.finish(now));
        let expected = ["one", "two", "", "rest"].map(|text| format!("1970-01-01T00:16:40.007Z stderr F {text}\n")).concat();
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }

    #[test]
    fn a_long_line_is_split_and_read_back_whole() {
        for length in [LINE_MAX, LINE_MAX + 1, 3 * LINE_MAX + 5] {
            let mut text = vec![b'x'; length];
            text.push(b'\n');
            let mut lines = Lines::new(Stream::Stdout);
            let out = lines.push(&text, Moment(0));
            assert_eq!(Printer::new(LogOptions::default()).print(&out), text, "{length}");
            assert!(out.split(|byte| *byte == b'\n').all(|line| line.len() < LINE_MAX + 64));
        }
    }

    #[test]
    fn older_lines_are_left_out_and_a_split_line_has_one_time() {
        let mut lines = Lines::new(Stream::Stdout);
        let mut long = vec![b'x'; LINE_MAX + 3];
        long.push(b'\n');
        let mut file = lines.push(b"old\n", Moment(1_000));
        file.extend(lines.push(&long, Moment(2_000)));
        file.extend(lines.push(b"new\n", Moment(3_000)));
        let print = |since: Option<u64>, timestamps| {
            let options = LogOptions { since: since.map(Moment), timestamps, ..LogOptions::default() };
            let text = String::from_utf8(Printer::new(options).print(&file)).expect("text");
            text.replace(&"x".repeat(LINE_MAX + 3), "long")
        };
        assert_eq!(print(Some(1_001), false), "long\nnew\n");
        assert_eq!(print(Some(2_000), true), "1970-01-01T00:00:02.000Z long\n1970-01-01T00:00:03.000Z new\n");
        assert_eq!(print(Some(3_001), true), "");
        assert_eq!(print(None, true).lines().count(), 3);
    }

    #[test]
    fn files_are_rotated_and_the_oldest_deleted() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.0.log");
        let mut log = LogFile::new(path.clone(), LogRetention { file_bytes_max: 10, files_max: 3 });
        for text in ["aaaaaaaaaa\n", "bbbbbbbbbb\n", "cccccccccc\n", "dddddddddd\n"] {
            log.append(text.as_bytes()).expect("written");
        }
        let kept: Vec<String> = files(&path).iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
        assert_eq!(kept, ["bbbbbbbbbb\n", "cccccccccc\n", "dddddddddd\n"], "oldest first");
    }

    #[test]
    fn a_large_piece_of_output_is_spread_over_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("web.0.log");
        let mut log = LogFile::new(path.clone(), LogRetention { file_bytes_max: 10, files_max: 2 });
        log.append("one two three\nfour\nfive\nsix\n".as_bytes()).expect("written");
        let kept: Vec<String> = files(&path).iter().map(|file| std::fs::read_to_string(file).expect("text")).collect();
        assert_eq!(kept, ["four\nfive\n", "six\n"]);
    }

    #[test]
    fn a_deleted_file_is_made_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("logs/web.0.log");
        let mut log = LogFile::new(path.clone(), LogRetention::default());
        log.append(b"one\n").expect("written");
        std::fs::remove_dir_all(folder.path().join("logs")).expect("deleted");
        log.check();
        log.append(b"two\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "two\n");
    }
}
