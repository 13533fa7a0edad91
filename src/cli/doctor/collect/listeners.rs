//! Whether the ports that we listen on are free: each is bound for a moment.

use super::super::Role;
use super::super::facts::{Listener, PortTrouble};
use crate::cli::client::{Client, Form, ServerArgs};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};

const STATUS: u16 = 7780;
const AGENTS: u16 = 7781;
const DNS: u16 = 53;

/// An address that nobody has: only a listener on every address is in the way there, as it would be on the bridge of pods.
const NOBODYS: Ipv4Addr = Ipv4Addr::new(127, 64, 255, 53);

pub(super) async fn listeners(role: Role) -> Vec<Listener> {
    let mut found = Vec::new();
    if role != Role::Agent {
        let ours = answers().await;
        found.push(listener(STATUS, "status", ours, TcpListener::bind((Ipv4Addr::LOCALHOST, STATUS)).map(drop)));
        if role == Role::Controller {
            found.push(listener(AGENTS, "agents", ours, TcpListener::bind((Ipv4Addr::UNSPECIFIED, AGENTS)).map(drop)));
        }
    }
    if role != Role::Controller {
        let bound = UdpSocket::bind((NOBODYS, DNS)).map(drop).and_then(|()| TcpListener::bind((NOBODYS, DNS)).map(drop));
        found.push(listener(DNS, "DNS of pods", false, bound));
    }
    found
}

fn listener(port: u16, what: &'static str, ours: bool, bound: io::Result<()>) -> Listener {
    let trouble = bound.err().map(|error| match (error.kind() == ErrorKind::AddrInUse, ours) {
        (true, true) => PortTrouble::TakenByUs,
        (true, false) => PortTrouble::Taken,
        (false, _) => PortTrouble::Refused(error.to_string()),
    });
    Listener { port, what, trouble }
}

/// Whether a Driftless answers at the status port.
async fn answers() -> bool {
    let client = Client::new(&ServerArgs { server: format!("127.0.0.1:{STATUS}") });
    let version = tokio::time::timeout(super::ANSWER, client.get("/version", Form::Json)).await;
    matches!(version, Ok(Ok(version)) if version["gitVersion"].as_str().is_some_and(|version| version.contains("driftless")))
}
