//! Secrets as environment, without the Engine knowing them: it writes a container's environment to its disk.
//!
//! A container whose environment holds secrets starts with a small static program of ours, which sets them and becomes the
//! container's own program (`src/agent/init`). Both it and the file with the secrets are mounted: the program from the state
//! directory (a tmpfs is often mounted `noexec`), the file from the pod's folder on tmpfs, where only the container's user may read it.
//! Commands inside (exec probes and hooks) start in the same way. Since our program takes the place of the image's entry point,
//! what that is has to be looked up.

use super::engine::Session;
use super::labels::INIT;
use super::settle::ImageConfig;
use super::{Shared, tar};
use crate::agent::runtime::{ContainerId, ContainerLaunch, EnvValue, Mount, RuntimeError};
use bollard::query_parameters::DownloadFromContainerOptionsBuilder;
use futures_util::TryStreamExt;
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The finished program, as `build.rs` made it.
const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/driftless-init"));

/// Where it is in the container, and where the secrets are. The program has the latter built in.
const PROGRAM_AT: &str = "/.driftless/init";
const SECRETS_AT: &str = "/.driftless/env";

/// Where an image says which numbers its users have.
const PASSWD: &str = "/etc/passwd";

/// No image's list of users is larger.
const PASSWD_BYTES_MAX: usize = 1 << 20;

/// Whoever the container runs as may read the secrets: only that user where we know and can give the file away, else everyone in the
/// container. On the host the folder above keeps others out.
const OWN: u32 = 0o400;
const OPEN: u32 = 0o444;

/// How a container with secrets in its environment starts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Init {
    /// The program that our own becomes, and its arguments.
    words: Vec<String>,
    /// What is mounted for it.
    mounts: Vec<Mount>,
    /// Who it runs as, by number or name; empty for root.
    user: String,
}

impl Init {
    /// What the Engine is told to start.
    pub(super) fn entrypoint(&self) -> (Vec<String>, Vec<String>) {
        (vec![PROGRAM_AT.to_owned()], self.words.clone())
    }

    /// What it is told to mount besides.
    pub(super) fn mounts(&self) -> &[Mount] {
        &self.mounts
    }
}

/// Whether a launch has secrets in its environment.
pub(super) fn is_needed(launch: &ContainerLaunch) -> bool {
    launch.env.iter().any(|(_, value)| matches!(value, EnvValue::Secret(_)))
}

/// The command as it is started in a container with these labels.
pub(super) fn wrap(command: &[String], labels: &BTreeMap<String, String>) -> Vec<String> {
    let first = labels.contains_key(INIT).then(|| PROGRAM_AT.to_owned());
    first.into_iter().chain(command.iter().cloned()).collect()
}

impl Shared {
    /// Lays out what the init needs. `user` is whom the container runs as, if its template says so.
    pub(super) async fn init(
        &self,
        launch: &ContainerLaunch,
        image: &ImageConfig,
        user: Option<&str>,
    ) -> Result<Init, RuntimeError> {
        let words = words(launch, image);
        if words.is_empty() {
            let message = format!("container {} has no command, and neither has its image", launch.labels.container);
            return Err(RuntimeError::Refused { message });
        }
        let user = user.unwrap_or(image.user()).split(':').next().unwrap_or_default().to_owned();
        let (program, secrets) = (self.settings.folders.state.join("init"), self.secrets_of(launch));
        let owner = if user.is_empty() { Some(0) } else { user.parse().ok() };
        write(&program, &secrets, &content(launch), owner).map_err(|error| RuntimeError::Failed {
            action: format!("laying out the secrets of container {}", launch.labels.container),
            message: error.to_string(),
        })?;
        let mount =
            |source: PathBuf, target: &str| Mount { source, target: target.to_owned(), read_only: true, ..Mount::default() };
        Ok(Init { words, mounts: vec![mount(program, PROGRAM_AT), mount(secrets, SECRETS_AT)], user })
    }

    /// Gives the secrets of a container that was made to its user, if that is one that only its image knows. One that cannot be found
    /// there is found by nobody: the Engine will refuse the container, and say why.
    pub(super) async fn give_secrets(&self, session: &Session, id: &ContainerId, launch: &ContainerLaunch, init: &Init) {
        if init.user.is_empty() || init.user.parse::<u32>().is_ok() {
            return;
        }
        let Some(owner) = passwd(session, id).await.as_deref().and_then(|text| number_of(&init.user, text)) else { return };
        if let Err(error) = give(&self.secrets_of(launch), owner) {
            tracing::debug!("everyone in container {id} may read its secrets: {error}");
        }
    }

    /// On tmpfs, and deleted with the pod.
    fn secrets_of(&self, launch: &ContainerLaunch) -> PathBuf {
        self.settings.folders.pod_run(launch.labels.uid).join("env").join(&launch.labels.container)
    }
}

/// The image's entry point and command with the launch's in their place: a command replaces the entry point and drops the image's
/// arguments. <https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/#notes>
fn words(launch: &ContainerLaunch, image: &ImageConfig) -> Vec<String> {
    match (launch.command.is_empty(), launch.args.is_empty()) {
        (false, _) => [&launch.command[..], &launch.args[..]].concat(),
        (true, false) => [image.entrypoint(), &launch.args[..]].concat(),
        (true, true) => [image.entrypoint(), image.cmd()].concat(),
    }
}

/// `NAME=VALUE`, each ended by a zero byte, which no value has.
fn content(launch: &ContainerLaunch) -> zeroize::Zeroizing<Vec<u8>> {
    let mut content = zeroize::Zeroizing::new(Vec::new());
    for (name, value) in &launch.env {
        if let EnvValue::Secret(bytes) = value {
            content.extend_from_slice(name.as_bytes());
            content.push(b'=');
            content.extend_from_slice(bytes.expose());
            content.push(0);
        }
    }
    content
}

/// Each file appears as a whole: a container that runs keeps the one that it has.
fn write(program: &Path, secrets: &Path, content: &[u8], owner: Option<u32>) -> io::Result<()> {
    if fs::read(program).ok().as_deref() != Some(PROGRAM) {
        replace(program, PROGRAM, 0o555)?;
    }
    replace(secrets, content, OPEN)?;
    // Only root may give a file away; and an agent that is not root serves containers of any user.
    match owner.map(|owner| give(secrets, owner)) {
        Some(Err(error)) if error.kind() != io::ErrorKind::PermissionDenied => Err(error),
        Some(_) | None => Ok(()),
    }
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent)?;
    let mut file = tempfile::NamedTempFile::new_in(parent)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.persist(path)?;
    Ok(())
}

/// Owner before mode: there is no moment at which neither may read.
fn give(secrets: &Path, owner: u32) -> io::Result<()> {
    chown(secrets, Some(owner), None)?;
    fs::set_permissions(secrets, Permissions::from_mode(OWN))
}

/// The image's list of users, as its container has it.
async fn passwd(session: &Session, id: &ContainerId) -> Option<String> {
    let options = DownloadFromContainerOptionsBuilder::new().path(PASSWD).build();
    let chunks = session.client.download_from_container(&id.0, Some(options));
    let archive = chunks.try_fold(Vec::new(), |mut archive: Vec<u8>, chunk| {
        let room = PASSWD_BYTES_MAX.saturating_sub(archive.len()).min(chunk.len());
        archive.extend_from_slice(&chunk[..room]);
        std::future::ready(Ok(archive))
    });
    String::from_utf8(tar::first_file(&archive.await.ok()?)?.to_vec()).ok()
}

/// The number of a user in passwd(5).
fn number_of(user: &str, passwd: &str) -> Option<u32> {
    let mut lines = passwd.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| (fields.next() == Some(user)).then(|| fields.nth(1)?.parse().ok()).flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::runtime::samples;
    use crate::model::SecretBytes;

    #[test]
    fn the_words_are_those_that_the_engine_would_have_run() {
        let some = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let image = ImageConfig::of(&["entry", "point"], &["image", "args"]);
        let cases: [(&[&str], &[&str], &[&str]); 4] = [
            (&[], &[], &["entry", "point", "image", "args"]),
            (&[], &["a"], &["entry", "point", "a"]),
            (&["c"], &[], &["c"]),
            (&["c"], &["a"], &["c", "a"]),
        ];
        for (command, args, expected) in cases {
            let launch = ContainerLaunch { command: some(command), args: some(args), ..samples::launch() };
            assert_eq!(words(&launch, &image), some(expected), "{command:?} {args:?}");
        }
    }

    #[test]
    fn only_secrets_are_in_the_file_and_any_byte_but_zero_may_be() {
        let mut launch = samples::launch();
        assert!(!is_needed(&launch));
        let secret = |bytes: &[u8]| EnvValue::Secret(SecretBytes::new(bytes.to_vec()));
        launch.env = vec![
            ("PLAIN".to_owned(), EnvValue::Plain("seen".to_owned())),
            ("A".to_owned(), secret(b"x=\n\xff")),
            ("B".to_owned(), secret(b"")),
        ];
        assert!(is_needed(&launch));
        assert_eq!(content(&launch).as_slice(), b"A=x=\n\xff\0B=\0");
    }

    #[test]
    fn the_file_is_its_owners_alone_and_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (program, secrets) = (folder.path().join("init"), folder.path().join("env/web"));
        let own = rustix::process::geteuid().as_raw();
        write(&program, &secrets, b"A=1\0", Some(own)).unwrap();
        let mounted = fs::File::open(&secrets).unwrap();
        write(&program, &secrets, b"A=2\0", Some(own)).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&program), mode(&secrets)), (0o555, 0o400));
        assert_eq!(io::read_to_string(mounted).unwrap(), "A=1\0", "who has it open keeps it");
        assert_eq!(fs::read(&secrets).unwrap(), b"A=2\0");
        write(&program, &secrets, b"A=3\0", None).unwrap();
        assert_eq!(mode(&secrets), 0o444, "a user that is not known yet must be able to read it");
    }

    #[test]
    fn a_user_is_found_by_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnginx:x:101:101:nginx:/:/sbin/nologin\nbroken\n";
        assert_eq!(number_of("nginx", passwd), Some(101));
        assert_eq!(number_of("ngin", passwd), None);
    }

    #[test]
    fn a_command_goes_through_the_init_where_there_is_one() {
        let command = ["check".to_owned()];
        assert_eq!(wrap(&command, &BTreeMap::new()), ["check"]);
        assert_eq!(wrap(&command, &BTreeMap::from([(INIT.to_owned(), "1".to_owned())])), ["/.driftless/init", "check"]);
    }
}
