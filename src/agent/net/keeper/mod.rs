//! The keeper: holds the sockets of the proxy while the agent restarts.
//!
//! A connection to a Service must not fail because the agent is being replaced, or was killed. So every socket that clients come in by
//! is also held by a small process that was started once and outlives agents: while none is there, the kernel goes on completing
//! connections and queues them, and the next agent takes the sockets over and accepts them. Nothing is lost but time.
//!
//! Inputs: sockets with their names, from the agent, over a unix socket in its run folder (mode 0700). Outputs: the same, to the next
//! agent. Invariants: what an agent closes for good is closed here too; a keeper without an agent ends after [`LINGER`], so that
//! clients of a node that was given up are refused and not left waiting. Deliberately absent: everything that is said on these
//! sockets, and connections that were accepted: those of an agent that is killed end with it.

mod message;
mod server;

pub use server::{LINGER, run};

use crate::model::Protocol;
use message::{Link, Message};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A keeper that has not answered after so long is stuck.
const ANSWER: Duration = Duration::from_secs(5);

/// Agents that wait for the keeper: there is one, and its successor.
const BACKLOG: i32 = 4;

/// What a socket is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Where it listens.
    pub address: SocketAddr,
}

/// The agent's side: hands sockets over and takes them back. Clones are handles of the same one.
#[derive(Clone)]
pub struct Keeper(Arc<Mutex<Hold>>);

struct Hold {
    /// `None` once the keeper is to keep what it has.
    link: Option<Link>,
    /// What an agent before this one had, until somebody asks for it.
    inherited: BTreeMap<Name, OwnedFd>,
}

impl Keeper {
    /// Finds the keeper of this folder, or starts one: `program` is this very program. Blocks for as long as that takes.
    ///
    /// # Errors
    /// There is none and none could be started.
    pub fn find_or_start(folder: &Path, program: &Path) -> io::Result<Self> {
        let path = folder.join("keeper.sock");
        if let Ok(keeper) = Self::find(&path) {
            return Ok(keeper);
        }
        // What is left of one that has ended.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let socket = listen(&path)?;
        Command::new(program)
            .arg("keeper")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A Ctrl-C for the agent is none for it.
            .process_group(0)
            .spawn()?;
        Self::find(&path)
    }

    /// Asks the keeper behind a socket for what it has.
    fn find(path: &Path) -> io::Result<Self> {
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        rustix::net::sockopt::set_socket_timeout(&socket, rustix::net::sockopt::Timeout::Recv, Some(ANSWER))?;
        let link = Link::new(socket);
        link.send(&Message::List, None)?;
        let mut inherited = BTreeMap::new();
        loop {
            match link.receive()? {
                Some((Message::Held(name), Some(socket))) => drop(inherited.insert(name, socket)),
                Some((Message::End, _)) => break,
                Some(_) => {}
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(Self(Arc::new(Mutex::new(Hold { link: Some(link), inherited }))))
    }

    /// Takes over a socket of the agent before.
    pub(super) fn take(&self, name: &Name) -> Option<OwnedFd> {
        self.lock().inherited.remove(name)
    }

    /// Hands over a socket; it stays open here and there.
    pub(super) fn keep(&self, name: Name, socket: impl AsFd) {
        self.say(&Message::Keep(name), Some(socket.as_fd()));
    }

    /// A socket is closed for good.
    pub(super) fn forget(&self, name: Name) {
        self.say(&Message::Forget(name), None);
    }

    /// Closes what nobody asked for.
    pub(super) fn forget_unclaimed(&self) {
        let unclaimed = std::mem::take(&mut self.lock().inherited);
        for name in unclaimed.into_keys() {
            self.forget(name);
        }
    }

    /// From now on the keeper keeps what it has: this agent ends.
    pub(super) fn leave(&self) {
        self.lock().link = None;
    }

    fn say(&self, message: &Message, socket: Option<std::os::fd::BorrowedFd<'_>>) {
        let hold = self.lock();
        let Some(link) = &hold.link else { return };
        if let Err(error) = link.send(message, socket) {
            tracing::warn!(%error, "the keeper of sockets is gone: connections fail while this agent restarts the next time");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Hold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::time::Duration;

    fn name_of(listener: &TcpListener) -> Name {
        Name { protocol: Protocol::Tcp, address: listener.local_addr().expect("an address") }
    }

    /// A keeper as a thread, and where it is found.
    fn started(linger: Duration) -> (tempfile::TempDir, std::path::PathBuf, std::thread::JoinHandle<io::Result<()>>) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("keeper.sock");
        let socket = listen(&path).expect("a socket");
        (folder, path, std::thread::spawn(move || server::serve(&socket, linger)))
    }

    #[test]
    fn a_connection_made_while_no_agent_is_there_is_accepted_by_the_next() {
        let (_folder, path, _thread) = started(Duration::from_secs(60));
        let first = Keeper::find(&path).expect("a keeper");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let name = name_of(&listener);
        first.keep(name, &listener);
        // As the kernel does for an agent that is killed.
        drop((first, listener));
        let client = TcpStream::connect(name.address).expect("the kernel connects it");
        let second = Keeper::find(&path).expect("the same keeper");
        let listener = TcpListener::from(second.take(&name).expect("the socket"));
        let (accepted, peer) = listener.accept().expect("it waited");
        assert_eq!(peer, client.local_addr().expect("an address"));
        drop(accepted);
        assert!(second.take(&name).is_none(), "it is handed over once");
    }

    #[test]
    fn a_socket_that_is_forgotten_or_not_claimed_refuses() {
        let (_folder, path, _thread) = started(Duration::from_secs(60));
        let first = Keeper::find(&path).expect("a keeper");
        let listeners: Vec<TcpListener> = (0..2).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")).collect();
        let names: Vec<Name> = listeners.iter().map(name_of).collect();
        for (name, listener) in names.iter().zip(&listeners) {
            first.keep(*name, listener);
        }
        drop(listeners);
        first.forget(names[0]);
        first.leave();
        first.forget(names[1]);
        let second = Keeper::find(&path).expect("the same keeper");
        assert!(TcpStream::connect(names[0].address).is_err(), "the first was closed for good");
        assert!(TcpStream::connect(names[1].address).is_ok(), "an agent that leaves closes nothing");
        second.forget_unclaimed();
        // An answer says that it has read what came before.
        drop(second);
        drop(Keeper::find(&path).expect("the same keeper"));
        assert!(TcpStream::connect(names[1].address).is_err());
    }

    #[test]
    fn a_keeper_without_an_agent_ends() {
        let (_folder, path, thread) = started(Duration::from_millis(1));
        // It may have ended before it was found.
        drop(Keeper::find(&path));
        thread.join().expect("no panic").expect("a regular end");
    }
}
