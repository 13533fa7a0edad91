//! Requests, of wrk, and how many of them are answered.

use crate::harness::http_get_on;
use crate::lab::Lab;
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const ROUNDS: usize = 3;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 32;

/// Who is asked, where.
pub type Contender = (&'static str, SocketAddr);

/// What wrk says.
#[derive(Clone)]
struct Figures {
    per_second: f64,
    p99: String,
}

/// Asks all contenders in turn from the first host, and prints the median of each beside that of `peer`: first over connections that are
/// kept, then over one for each request.
pub fn compare(lab: &Lab, what: &str, host: &str, contenders: &[Contender], peer: &str) {
    for (contender, address) in contenders {
        lab.wait_for(&format!("{contender} answers"), || lab.within(1, || answers(*address, host)));
    }
    for (how, header) in [("connections kept", None), ("a connection each", Some("Connection: close"))] {
        let mut all: BTreeMap<&str, Vec<Figures>> = BTreeMap::new();
        for _ in 0..ROUNDS {
            for (contender, address) in contenders {
                all.entry(contender).or_default().push(ask(lab, *address, host, header));
            }
        }
        let median = |contender: &str| {
            let mut figures = all[contender].clone();
            figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
            figures[ROUNDS / 2].clone()
        };
        let base = median(peer).per_second;
        for (contender, _) in contenders {
            let Figures { per_second, p99 } = median(contender);
            println!("{what}, {how}: {contender:<14} {per_second:>8.0} requests/s, p99 {p99}, {:.2} × {peer}", per_second / base);
        }
    }
}

fn ask(lab: &Lab, address: SocketAddr, host: &str, header: Option<&str>) -> Figures {
    let mut command = lab.command(1, "wrk");
    command.args(["--threads", "1", "--latency", "--connections", &CONNECTIONS.to_string()]);
    command.args(["--duration", &format!("{SECONDS}s"), "--header", &format!("Host: {host}")]);
    command.args(header.iter().flat_map(|header| ["--header", header]));
    let out = command.arg(format!("http://{address}/")).output().expect("wrk runs: install Debian's wrk");
    let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
    let after = |word: &str| text.lines().find_map(|line| line.trim().strip_prefix(word)).map(str::trim).map(str::to_owned);
    assert!(!text.contains("Non-2xx"), "{text}");
    let per_second = after("Requests/sec:").and_then(|number| number.parse().ok());
    Figures { per_second: per_second.unwrap_or_else(|| panic!("{text}")), p99: after("99%").expect("a percentile") }
}

/// Whether whoever is there answers a request.
fn answers(address: SocketAddr, host: &str) -> Result<(), String> {
    let answer = TcpStream::connect(address).and_then(|stream| {
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        http_get_on(stream, host, "/")
    });
    match answer {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}
