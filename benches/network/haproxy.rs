//! HAProxy: as what answers, with one thread, and as the peer that forwards, with as many as the machine has cores, as our agents.

use crate::lab::Lab;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// One that ends with the benchmark.
pub struct Haproxy(Child);

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A configuration: what it is as a whole, what it binds in this mode, and what it does with what comes there.
fn config(folder: &Path, name: &str, global: &str, mode: &str, bind: &str, rest: &str) -> PathBuf {
    let path = folder.join(format!("{name}.cfg"));
    let text = format!(
        "global\n  {global}\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         frontend {name}\n  bind {bind}\n  {rest}\n"
    );
    fs::write(&path, text).expect("a file");
    path
}

/// One that answers every request, at `$PORT`.
pub fn answering(folder: &Path) -> PathBuf {
    let answer = "http-request return status 200 content-type text/plain string hello";
    config(folder, "answering", "nbthread 1", "http", "0.0.0.0:\"$PORT\"", answer)
}

/// One on a host that forwards in this mode from `at` to a server, with options of each.
pub fn forward(lab: &Lab, host: usize, mode: &str, (at, tls): (SocketAddr, &str), server: &str) -> Haproxy {
    let name = format!("from-{}", at.port());
    let path = config(
        lab.cluster.dir.path(),
        &name,
        "",
        mode,
        &format!("{at} {tls}"),
        &format!("use_backend pod\nbackend pod\n  server pod {server}"),
    );
    let mut command = lab.command(host, "haproxy");
    command.args(["-q", "-db", "-f", &path.to_string_lossy()]).stdout(Stdio::null());
    Haproxy(command.spawn().expect("it starts: install Debian's haproxy"))
}

/// Two of them that do what our tunnel does: one on the first host, which encrypts, and one beside the pod; each shows a certificate and asks
/// for the other's. Where the first takes connections.
pub fn encrypted(lab: &Lab, (from, port): (usize, u16), (to, pod): (usize, SocketAddr)) -> (SocketAddr, [Haproxy; 2]) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["bench".to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let made = params.self_signed(&key);
    let certificate = lab.cluster.dir.path().join("bench.pem");
    fs::write(&certificate, made.expect("a certificate").pem() + &key.serialize_pem()).expect("a file");
    let shown = format!("ssl crt {path} ca-file {path} ssl-min-ver TLSv1.3 verify required", path = certificate.display());
    let (entry, between) = (lab.at(from, port), lab.at(to, port + 1));
    let near = forward(lab, from, "tcp", (entry, ""), &format!("{between} {shown}"));
    let far = forward(lab, to, "tcp", (between, &shown), &pod.to_string());
    (entry, [near, far])
}
