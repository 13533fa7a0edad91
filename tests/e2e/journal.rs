//! What programs do, in the order in which they did it: pods write lines into one file.

use crate::harness::Cluster;
use std::fs;
use std::path::PathBuf;

/// The file. Programs append to it, and a line of `echo` is written at once and as a whole.
pub struct Journal {
    pub path: PathBuf,
}

impl Journal {
    /// An empty one in the folder of a cluster.
    pub fn of(cluster: &Cluster) -> Self {
        let path = cluster.dir.path().join("journal");
        fs::write(&path, "").expect("an empty journal");
        Self { path }
    }

    /// A shell script in which `note WORDS` writes a line.
    pub fn script(&self, script: &str) -> String {
        format!("note() {{ echo \"$*\" >> {}; }}; {script}", self.path.display())
    }

    pub fn lines(&self) -> Vec<String> {
        fs::read_to_string(&self.path).expect("the journal").lines().map(str::to_owned).collect()
    }

    /// Waits until a line is there; the lines so far.
    pub fn wait_for(&self, cluster: &Cluster, line: &str) -> Vec<String> {
        cluster.wait_for(&format!("the journal has {line:?}"), || {
            let lines = self.lines();
            if lines.iter().any(|written| written == line) { Ok(lines) } else { Err(lines.join(", ")) }
        })
    }

    /// Waits until these are the lines, in this order, and no others.
    pub fn wait_until(&self, cluster: &Cluster, expected: &[&str]) {
        cluster.wait_for("the journal is as expected", || {
            let lines = self.lines();
            if lines == expected { Ok(()) } else { Err(format!("{lines:#?}")) }
        });
    }

    /// Forgets the lines so far. Programs that write open the file anew each time.
    pub fn clear(&self) {
        fs::write(&self.path, "").expect("an empty journal");
    }
}
