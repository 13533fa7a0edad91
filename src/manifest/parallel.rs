//! Reading many files on several threads. The result is that of one thread.

use super::document::{ParsedFile, parse};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Fewer files than this are read on the spot.
const PARALLEL_MIN: usize = 16;

/// More threads than this gain nothing.
const THREADS_MAX: usize = 8;

/// A file as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredFile<'a> {
    /// The path, relative to the watched path.
    pub path: &'a str,
    /// The git object id; empty outside of git.
    pub blob: &'a str,
    /// Its contents.
    pub bytes: &'a [u8],
}

/// Reads files; the results are in the order of the files.
#[must_use]
pub fn parse_all(files: &[StoredFile<'_>]) -> Vec<ParsedFile> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    if files.len() < PARALLEL_MIN || threads == 1 {
        return files.iter().map(|file| parse(file.path, file.blob, file.bytes)).collect();
    }
    let next = AtomicUsize::new(0);
    let mut parsed: Vec<(usize, ParsedFile)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| take(files, &next))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    parsed.sort_unstable_by_key(|(index, _)| *index);
    parsed.into_iter().map(|(_, file)| file).collect()
}

/// One thread's share: whatever file is next, so that a large one holds up nobody.
fn take(files: &[StoredFile<'_>], next: &AtomicUsize) -> Vec<(usize, ParsedFile)> {
    let mut share = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = files.get(index) else { return share };
        share.push((index, parse(file.path, file.blob, file.bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_files_are_read_in_their_order() {
        let texts: Vec<String> =
            (0..200).map(|n| format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: n{n}}}\n")).collect();
        let files: Vec<StoredFile<'_>> =
            texts.iter().map(|text| StoredFile { path: "n.yaml", blob: "", bytes: text.as_bytes() }).collect();
        let names: Vec<String> = parse_all(&files).iter().map(|file| file.documents()[0].name.clone()).collect();
        assert_eq!(names, (0..200).map(|n| format!("n{n}")).collect::<Vec<String>>());
    }
}
