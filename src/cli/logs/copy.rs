//! One log, from the controller to stdout.

use super::super::client::{Client, Form, escaped};
use super::super::{CliError, CliResult};
use super::sources::Source;
use super::{LogsArgs, TAIL_OF_SELECTED};
use crate::status::{LOG_ERROR, Resource};
use http_body_util::BodyExt;
use std::io::{ErrorKind, Write};

/// A line that is longer is printed in parts, so that one without an end does not fill the memory.
const LINE_MAX: usize = 256 * 1024;

/// What became of one log.
pub(super) type Copied = CliResult<()>;

/// Why nothing more can be printed at all.
pub(super) enum Stopped {
    /// The reader of stdout has gone (`| head`).
    Gone,
    /// Stdout is full or broken.
    Failed(CliError),
}

impl Stopped {
    /// A reader that has gone is no error.
    pub(super) fn outcome(self) -> CliResult<Vec<Copied>> {
        match self {
            Stopped::Gone => Ok(Vec::new()),
            Stopped::Failed(error) => Err(error),
        }
    }
}

/// Copies logs.
pub(super) struct Copy<'a> {
    pub(super) client: &'a Client,
    pub(super) args: &'a LogsArgs,
    /// Whether there are others, whose lines must not mix with those of this one.
    pub(super) several: bool,
}

impl Copy<'_> {
    /// Copies one log to its end.
    pub(super) async fn one(&self, source: &Source) -> Result<Copied, Stopped> {
        let mut body = match self.client.open(&path(self.args, source), Form::Json).await {
            Ok(response) => response.into_body(),
            Err(error) => return Ok(Err(error)),
        };
        let mut lines = Lines::new(self, source);
        let mut outcome = Ok(());
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    outcome = Err(CliError::with_source(format!("the log of {} broke off", source.pod), error));
                    break;
                }
            };
            match frame.into_data() {
                Ok(data) => write(&lines.push(&data))?,
                Err(frame) => outcome = ended(source, frame.trailers_ref()),
            }
        }
        write(&lines.finish())?;
        Ok(outcome)
    }
}

/// What the server says at the end.
fn ended(source: &Source, trailers: Option<&hyper::HeaderMap>) -> Copied {
    match trailers.and_then(|trailers| trailers.get(LOG_ERROR)).and_then(|words| words.to_str().ok()) {
        Some(words) => Err(CliError::new(format!("{}: {words}", source.pod))),
        None => Ok(()),
    }
}

fn path(args: &LogsArgs, source: &Source) -> String {
    let mut path = format!("{}/{}/log?", Resource::Pods.path(Some(&escaped(&args.namespace))), escaped(&source.pod));
    let tail = args.tail.or(args.selector.is_some().then_some(TAIL_OF_SELECTED));
    let optional = [
        ("container", Some(source.container.clone()).filter(|name| !name.is_empty())),
        ("tailLines", tail.map(|lines| lines.to_string())),
        ("sinceSeconds", args.since.map(|since| since.duration().as_secs().max(1).to_string())),
        ("sinceTime", args.since_time.map(|time| time.to_string())),
        ("limitBytes", args.limit_bytes.map(|bytes| bytes.to_string())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            path.push_str(&format!("{name}={}&", escaped(&value)));
        }
    }
    path.push_str(&format!("follow={}&previous={}&timestamps={}", args.follow, args.previous, args.timestamps));
    path
}

/// Whole lines, where lines of several logs are printed or each has a prefix; else bytes as they come.
struct Lines {
    prefix: Option<String>,
    whole: bool,
    rest: Vec<u8>,
}

impl Lines {
    fn new(copy: &Copy<'_>, source: &Source) -> Self {
        let prefix = copy.args.prefix.then(|| format!("[pod/{}/{}] ", source.pod, source.container));
        Self { whole: copy.several || prefix.is_some(), prefix, rest: Vec::new() }
    }

    /// What can be printed now.
    fn push(&mut self, data: &[u8]) -> Vec<u8> {
        if !self.whole {
            return data.to_vec();
        }
        self.rest.extend_from_slice(data);
        let mut end = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        if self.rest.len() - end > LINE_MAX {
            end = self.rest.len();
        }
        let later = self.rest.split_off(end);
        let now = std::mem::replace(&mut self.rest, later);
        self.prefixed(&now)
    }

    /// The last line, which has no end.
    fn finish(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            rest.push(b'\n');
        }
        self.prefixed(&rest)
    }

    fn prefixed(&self, lines: &[u8]) -> Vec<u8> {
        let Some(prefix) = &self.prefix else { return lines.to_vec() };
        lines.split_inclusive(|byte| *byte == b'\n').flat_map(|line| [prefix.as_bytes(), line].concat()).collect()
    }
}

fn write(data: &[u8]) -> Result<(), Stopped> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(data).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Stopped::Gone),
        Err(error) => Err(Stopped::Failed(CliError::with_source("cannot write to stdout", error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(mut lines: Lines, pieces: &[&str]) -> String {
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| lines.push(piece.as_bytes())).collect();
        out.extend(lines.finish());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn each_line_has_its_prefix_however_it_arrives() {
        let lines = Lines { prefix: Some("[p] ".into()), whole: true, rest: Vec::new() };
        assert_eq!(printed(lines, &["on", "e\ntwo\nth", "ree"]), "[p] one\n[p] two\n[p] three\n");
    }

    #[test]
    fn a_single_log_is_copied_as_it_is() {
        let lines = Lines { prefix: None, whole: false, rest: Vec::new() };
        assert_eq!(printed(lines, &["no en", "d"]), "no end");
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_for_ever() {
        let mut lines = Lines { prefix: None, whole: true, rest: Vec::new() };
        assert!(lines.push(&vec![b'x'; LINE_MAX]).is_empty());
        assert_eq!(lines.push(b"x").len(), LINE_MAX + 1);
    }
}
