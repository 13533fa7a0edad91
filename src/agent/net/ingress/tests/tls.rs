//! TLS: which certificate, which protocol, and when.

use super::stage::{DEADLINE, Stage, certificate, echo, http2_client, read_all, route};
use crate::agent::net::ingress::IngressLimits;
use crate::model::{HostPattern, SecretBytes};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, SupportedProtocolVersion, version};

/// Takes every certificate: the tests look at it themselves.
#[derive(Debug)]
struct Any(CryptoProvider);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Shakes hands for a name; the certificate that was shown, as DER.
pub(super) async fn connect(address: SocketAddr, name: &str, protocols: &[&str]) -> (TlsStream<TcpStream>, Vec<u8>) {
    shake(address, name, protocols, &[&version::TLS13]).await
}

async fn shake(
    address: SocketAddr,
    name: &str,
    protocols: &[&str],
    versions: &[&'static SupportedProtocolVersion],
) -> (TlsStream<TcpStream>, Vec<u8>) {
    let provider = ring::default_provider();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider.clone()));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let mut config = builder.dangerous().with_custom_certificate_verifier(Arc::new(Any(provider))).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let shaken = timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("in time");
    let stream = shaken.expect("a handshake");
    let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).expect("a certificate").to_vec();
    (stream, shown)
}

#[tokio::test]
async fn each_name_is_shown_its_certificate_and_others_the_default_one() {
    let mut stage = Stage::new().await;
    let (exact, exact_der) = certificate("shop.example.org", "exact");
    let (wildcard, wildcard_der) = certificate("*.example.org", "wildcard");
    stage.follow(Vec::new(), vec![exact, wildcard]);
    let shown = async |name: &str| connect(stage.https, name, &["http/1.1"]).await.1;
    assert_eq!(shown("shop.example.org").await, exact_der);
    assert_eq!(shown("news.example.org").await, wildcard_der);
    let default = shown("a.b.example.org").await;
    assert!(default != exact_der && default != wildcard_der);
    assert_eq!(shown("elsewhere.example").await, default);
    assert_eq!(shown("127.0.0.1").await, default);
}

#[tokio::test]
async fn a_new_certificate_is_shown_from_the_next_handshake_on_and_no_connection_ends_for_it() {
    let mut stage = Stage::new().await;
    stage.lead("web", &[echo("web").await]);
    let (old, old_der) = certificate("h.example", "cert");
    let (new, new_der) = certificate("h.example", "cert");
    stage.follow(vec![route("h.example", "/", "web")], vec![old]);
    let (mut stream, shown) = connect(stage.https, "h.example", &["http/1.1"]).await;
    assert_eq!(shown, old_der);
    stage.follow(vec![route("h.example", "/", "web")], vec![new]);
    assert_eq!(connect(stage.https, "h.example", &["http/1.1"]).await.1, new_der);
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h.example\r\nconnection: close\r\n\r\n").await.expect("written");
    let got = read_all(&mut stream).await;
    assert!(got.starts_with("HTTP/1.1 200 OK") && got.contains("\nx-forwarded-proto: https\n"), "{got}");
}

#[tokio::test]
async fn a_secret_that_is_no_certificate_costs_nobody_else_theirs() {
    let mut stage = Stage::new().await;
    let (good, good_der) = certificate("good.example", "good");
    let (mut bad, _) = certificate("bad.example", "bad");
    bad.key = SecretBytes::new(b"no key".to_vec());
    let (mut mixed, _) = certificate("mixed.example", "mixed");
    mixed.chain.clone_from(&good.chain);
    let (mut empty, _) = certificate("empty.example", "empty");
    empty.chain = Vec::new();
    stage.follow(Vec::new(), vec![bad, mixed, empty, good]);
    assert_eq!(connect(stage.https, "good.example", &[]).await.1, good_der);
    let default = connect(stage.https, "bad.example", &[]).await.1;
    assert_ne!(default, good_der);
    assert_eq!(connect(stage.https, "mixed.example", &[]).await.1, default);
    assert_eq!(connect(stage.https, "empty.example", &[]).await.1, default);
}

#[tokio::test]
async fn the_client_chooses_between_http2_and_http1_and_may_speak_tls_1_2() {
    let mut stage = Stage::new().await;
    stage.serve(&[echo("web").await]);
    let (stream, _) = connect(stage.https, "h.example", &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = http2_client::<Empty<Bytes>>(stream).await;
    let request = Request::get("https://h.example/two").body(Empty::new()).expect("a request");
    let response = timeout(DEADLINE, client.send_request(request)).await.expect("in time").expect("an answer");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("GET /two HTTP/1.1\n") && text.contains("\nhost: h.example\n"), "{text}");
    let (mut stream, _) = shake(stage.https, "h.example", &[], &[&version::TLS12]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await.expect("written");
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_host_with_tls_sends_plain_requests_there() {
    let mut stage = Stage::new().await;
    stage.lead("web", &[echo("web").await]);
    let mut secure = route("h.example", "/", "web");
    secure.to_https = true;
    secure.host = HostPattern::new("h.example");
    stage.follow(vec![secure], vec![certificate("h.example", "cert").0]);
    let got = stage.say("POST /a?b=c HTTP/1.1\r\nhost: h.example:80\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let location = format!("\r\nlocation: https://h.example:{}/a?b=c\r\n", stage.https.port());
    assert!(got.starts_with("HTTP/1.1 308 ") && got.contains(&location), "{got}");
    let (mut stream, _) = connect(stage.https, "h.example", &[]).await;
    stream.write_all(b"GET /a HTTP/1.1\r\nhost: h.example\r\nconnection: close\r\n\r\n").await.expect("written");
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn a_client_that_does_not_shake_hands_is_dropped() {
    let limits = IngressLimits { handshake: Duration::from_millis(50), ..IngressLimits::default() };
    let stage = Stage::with(limits, Vec::new()).await;
    let mut stream = TcpStream::connect(stage.https).await.expect("connected");
    assert_eq!(read_all(&mut stream).await, "");
}
