//! The files of a small image, as a tar archive in memory.
//!
//! Role: makes the images of the demo and of the tests, where there is no registry to pull from. Inputs: paths and contents;
//! output: a POSIX.1-1988 (ustar) archive, the same bytes for the same files. Pure. Deliberately absent: owners other than root,
//! times, devices.

use std::collections::BTreeMap;

/// The unit of the format.
const BLOCK: usize = 512;

/// The files of an image, by path. Parent folders are added as needed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RootFs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Folder { mode: u32 },
    File { mode: u32, bytes: Vec<u8> },
    Link { target: String },
}

/// A path that the format cannot hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {path:?} does not fit into a tar header (at most 100 bytes)")]
pub struct PathTooLong {
    /// The path.
    pub path: String,
}

impl RootFs {
    /// Adds a folder. Paths are absolute.
    #[must_use]
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.insert(path, Entry::Folder { mode });
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.insert(path, Entry::File { mode, bytes: bytes.into() });
        self
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.insert(path, Entry::Link { target: target.to_owned() });
        self
    }

    fn insert(&mut self, path: &str, entry: Entry) {
        let path = path.trim_matches('/').to_owned();
        for (at, _) in path.match_indices('/') {
            self.entries.entry(path[..at].to_owned()).or_insert(Entry::Folder { mode: 0o755 });
        }
        self.entries.insert(path, entry);
    }

    /// The archive.
    ///
    /// # Errors
    /// [`PathTooLong`]
    pub fn to_tar(&self) -> Result<Vec<u8>, PathTooLong> {
        let mut tar = Vec::new();
        for (path, entry) in &self.entries {
            tar.extend_from_slice(&header(path, entry)?);
            if let Entry::File { bytes, .. } = entry {
                tar.extend_from_slice(bytes);
                tar.resize(tar.len().next_multiple_of(BLOCK), 0);
            }
        }
        // Two empty blocks end the archive.
        tar.resize(tar.len() + 2 * BLOCK, 0);
        Ok(tar)
    }
}

/// The header of one entry: fields of fixed width, numbers in octal, and a checksum over the header with the checksum's own field
/// as spaces.
fn header(path: &str, entry: &Entry) -> Result<[u8; BLOCK], PathTooLong> {
    let (kind, mode, size, target) = match entry {
        Entry::Folder { mode } => (b'5', *mode, 0, ""),
        Entry::File { mode, bytes } => (b'0', *mode, bytes.len(), ""),
        Entry::Link { target } => (b'2', 0o777, 0, target.as_str()),
    };
    for text in [path, target] {
        if text.len() > 100 {
            return Err(PathTooLong { path: text.to_owned() });
        }
    }
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, path.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    #[test]
    fn tar_itself_reads_what_is_written() {
        let root =
            RootFs::default().folder("/tmp", 0o1777).file("/usr/bin/hello", 0o755, "hello\n".repeat(200)).link("/bin", "usr/bin");
        let mut child = Command::new("tar").arg("-tv").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&root.to_tar().unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{listing}");
        for expected in ["drwxrwxrwt", "-rwxr-xr-x", "1200", "usr/bin/hello", "bin -> usr/bin", "drwxr-xr-x"] {
            assert!(listing.contains(expected), "{expected} is not in:\n{listing}");
        }
    }

    #[test]
    fn a_path_that_does_not_fit_is_refused() {
        let path = "a".repeat(101);
        assert_eq!(RootFs::default().file(&path, 0o644, "").to_tar(), Err(PathTooLong { path }));
    }
}
