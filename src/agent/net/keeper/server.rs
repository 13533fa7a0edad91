//! The keeper's side. It is a process of its own, with one thread and nothing of the agent's.

use super::Name;
use super::message::{Link, Message};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{SocketFlags, accept_with};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a keeper waits for the next agent.
pub const LINGER: Duration = Duration::from_secs(60);

/// Keeps sockets until no agent has come for a while. Agents come in by the socket that is its standard input.
///
/// # Errors
/// Of that socket.
pub fn run() -> io::Result<()> {
    serve(io::stdin(), LINGER)
}

/// The same for any socket and time.
pub(super) fn serve(socket: impl AsFd, linger: Duration) -> io::Result<()> {
    let mut held = BTreeMap::new();
    while is_readable(socket.as_fd(), linger)? {
        let link = Link::new(accept_with(&socket, SocketFlags::CLOEXEC)?);
        if let Err(error) = listen_to(&link, &mut held) {
            tracing::debug!("an agent is gone: {error}");
        }
    }
    Ok(())
}

/// Does what one agent says, until it is gone.
fn listen_to(link: &Link, held: &mut BTreeMap<Name, OwnedFd>) -> io::Result<()> {
    while let Some((message, socket)) = link.receive()? {
        match (message, socket) {
            (Message::Keep(name), Some(socket)) => drop(held.insert(name, socket)),
            (Message::Forget(name), _) => drop(held.remove(&name)),
            (Message::List, _) => {
                for (name, socket) in &*held {
                    link.send(&Message::Held(*name), Some(socket.as_fd()))?;
                }
                link.send(&Message::End, None)?;
            }
            (Message::Keep(_) | Message::Held(_) | Message::End | Message::Unknown, _) => {}
        }
    }
    Ok(())
}

fn is_readable(socket: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(patience).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        match poll(&mut [PollFd::from_borrowed_fd(socket, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(ready) => return Ok(ready > 0),
        }
    }
}
