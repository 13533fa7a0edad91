//! The control socket: what the people of a host ask of its running agent. A unix socket in the agent's folder for files of pods, for
//! the agent's own user alone (mode 0600, in a folder of mode 0700).
//!
//! A request is one line, its answer another: `leave <seconds>` announces an absence (0 takes it back), answered by `ok` or
//! `error: …`.

use super::{Event, Shared, lock};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A line is not longer.
const LINE_MAX: u64 = 256;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

fn path(folder: &Path) -> PathBuf {
    folder.join("agent.sock")
}

/// Listens until `shutdown`. `folder` is locked by this agent, so a socket that is there is a dead one's.
pub(super) fn listen(
    folder: &Path,
    agent: Shared,
    events: mpsc::UnboundedSender<Event>,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let path = path(folder);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => break,
            };
            if let Ok((stream, _)) = accepted {
                // One after the other: there is one person, or none.
                let _ = timeout(PATIENCE, answer(stream, &agent, &events)).await;
            }
        }
        let _ = fs::remove_file(&path);
    });
    Ok(())
}

async fn answer(stream: UnixStream, agent: &Shared, events: &mpsc::UnboundedSender<Event>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(LINE_MAX).read_line(&mut line).await?;
    let answer = match read(&line) {
        Some(_) if !lock(agent).is_connected() => "error: the controller cannot be reached, so it cannot be told".to_owned(),
        Some(away) => match events.send(Event::Leave(away)) {
            Ok(()) => "ok".to_owned(),
            Err(_) => "error: the agent is ending".to_owned(),
        },
        None => "error: not understood; is this command of another version than the agent?".to_owned(),
    };
    stream.write_all(format!("{answer}\n").as_bytes()).await
}

/// The absence that a line announces.
fn read(line: &str) -> Option<Duration> {
    let seconds = line.strip_suffix('\n')?.strip_prefix("leave ")?;
    seconds.parse().ok().map(Duration::from_secs)
}

/// Asks the agent that has `folder` to announce an absence; zero takes it back.
///
/// # Errors
/// No agent listens there, or it cannot tell the controller: its words.
pub async fn leave(folder: &Path, away: Duration) -> io::Result<()> {
    let ask = async {
        let mut stream = BufReader::new(UnixStream::connect(path(folder)).await?);
        stream.write_all(format!("leave {}\n", away.as_secs()).as_bytes()).await?;
        let mut line = String::new();
        stream.take(LINE_MAX).read_line(&mut line).await?;
        match line.trim_end() {
            "ok" => Ok(()),
            other => Err(io::Error::other(other.strip_prefix("error: ").unwrap_or("the agent gave no answer").to_owned())),
        }
    };
    timeout(PATIENCE, ask).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_an_absence_or_not_understood() {
        for (line, expected) in [
            ("leave 600\n", Some(600)),
            ("leave 0\n", Some(0)),
            ("leave 600", None),
            ("leave -1\n", None),
            ("stay\n", None),
            ("", None),
        ] {
            assert_eq!(read(line), expected.map(Duration::from_secs), "{line:?}");
        }
    }
}
