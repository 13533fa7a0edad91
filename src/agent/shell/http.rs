//! The GET of probes and hooks, as the kubelet makes it: no certificate is verified, and a redirect is followed on the same host.

use crate::agent::core::HttpTarget;
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::header::{HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme};

/// More redirects are a failure, as with the kubelet.
const REDIRECTS_MAX: usize = 10;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// What is asked for, as people write it.
pub(super) fn url(target: &HttpTarget) -> String {
    let scheme = if target.https { "https" } else { "http" };
    format!("{scheme}://{}{}", authority(&target.host, target.port), rooted(&target.path))
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// The status of the answer, redirects followed. One that leads to another host is itself the answer.
///
/// # Errors
/// There was no answer.
pub(super) async fn get(target: &HttpTarget) -> Result<u16, AnyError> {
    let mut at = target.clone();
    for _ in 0..=REDIRECTS_MAX {
        let answer = ask(&at).await?;
        let status = answer.status();
        let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = location.filter(|_| matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)).and_then(|to| follow(&at, to));
        match next {
            Some(next) if next.host == target.host => at = next,
            Some(_) | None => return Ok(status.as_u16()),
        }
    }
    Err(format!("more than {REDIRECTS_MAX} redirects").into())
}

/// Where a redirect leads. `None` if that cannot be understood.
fn follow(from: &HttpTarget, location: &str) -> Option<HttpTarget> {
    let uri: Uri = location.parse().ok()?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let Some(host) = uri.host() else {
        let folder = from.path.split('?').next().unwrap_or_default().rsplit_once('/').map_or("", |(folder, _)| folder);
        let path = if location.starts_with('/') { path } else { format!("{folder}/{location}") };
        return Some(HttpTarget { path, ..from.clone() });
    };
    let https = uri.scheme_str().map_or(from.https, |scheme| scheme == "https");
    let port = uri.port_u16().unwrap_or(if https { 443 } else { 80 });
    Some(HttpTarget { host: host.trim_matches(['[', ']']).to_owned(), port, path, https, headers: from.headers.clone() })
}

async fn ask(target: &HttpTarget) -> Result<Response<hyper::body::Incoming>, AnyError> {
    let mut request = Request::get(rooted(&target.path)).body(Empty::<Bytes>::new())?;
    let own = request.headers_mut();
    own.insert(HOST, authority(&target.host, target.port).parse()?);
    own.insert(USER_AGENT, concat!("driftless-probe/", env!("CARGO_PKG_VERSION")).parse()?);
    for (name, value) in &target.headers {
        own.insert(hyper::header::HeaderName::try_from(name.as_str())?, value.parse()?);
    }
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    if target.https {
        let name = ServerName::try_from(target.host.clone())?;
        exchange(tls()?.connect(name, stream).await?, request).await
    } else {
        exchange(stream, request).await
    }
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<hyper::body::Incoming>, AnyError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = std::pin::pin!(sender.send_request(request));
    // Both at once: the connection makes progress only while it is polled, and is dropped with the answer. A server that closes
    // after its answer ends the connection, over TLS often without a word, and the answer is there all the same.
    tokio::select! {
        answer = &mut answer => Ok(answer?),
        end = connection => match (answer.await, end) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error.into()),
        },
    }
}

fn tls() -> Result<TlsConnector, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let any = Arc::new(AnyCertificate(provider));
    Ok(TlsConnector::from(Arc::new(config.dangerous().with_custom_certificate_verifier(any).with_no_client_auth())))
}

/// Takes every certificate: a probe asks whether a program answers, not who it is, and pods have certificates of their own making.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::{follow, get, url};
    use crate::agent::core::HttpTarget;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

    fn target(port: u16, path: &str) -> HttpTarget {
        HttpTarget { host: "127.0.0.1".to_owned(), port, path: path.to_owned(), headers: Vec::new(), https: false }
    }

    /// Answers each request by its path, and closes right after it.
    async fn serve(answer: impl Fn(&str) -> String + Send + 'static) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 1024];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let text = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default();
                let _ = stream.write_all(answer(path).as_bytes()).await;
            }
        });
        port
    }

    /// The certificate of nobody, signed by nobody, and its key: what pods often have.
    const CERTIFICATE: &str = "MIIBeTCCAR+gAwIBAgIUY7tU03KG+JdF0yZ6Fny0SRN3cNowCgYIKoZIzj0EAwIwETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyNjEzMzUyNFoYDzIxMj \
     YxMTAyMTMzNTI0WjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASxykjcJvCr2thtqPkSRrD08gate33KvBCjcpYWXe59 \
     42F+DCTJNB2bQ61e4UykSpwon6l4uHMjSBkLapYG3vJGo1MwUTAdBgNVHQ4EFgQUrRyXP7DSHTmUnkvZYKA2WRRl0LIwHwYDVR0jBBgwFoAUrRyXP7DSHT \
     mUnkvZYKA2WRRl0LIwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEA1Bc4G5YNfyOIZnsyh5bL5YURclVVY1P9vihLT7SrnvcCIEir2uLE \
     Zj6Qn+4zvFYzz7BS9Nm6yZkhpzRBmdjRiUS1";
    const KEY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgNgFnziiMU7IkkH5arwy9k/q/igeGL0dn64wKD+W9S9qhRANCAASxykjcJvCr2thtqPkSRr \
     D08gate33KvBCjcpYWXe5942F+DCTJNB2bQ61e4UykSpwon6l4uHMjSBkLapYG3vJG";

    #[tokio::test]
    async fn no_certificate_is_verified() {
        let decode = |text: &str| STANDARD.decode(text.replace(char::is_whitespace, "")).expect("base64");
        let provider = Arc::new(super::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
        let key = PrivatePkcs8KeyDer::from(decode(KEY)).into();
        let config = config.with_no_client_auth().with_single_cert(vec![decode(CERTIFICATE).into()], key).expect("a pair");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut stream = acceptor.accept(stream).await.expect("a handshake");
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        });
        let https = HttpTarget { https: true, ..target(port, "/") };
        assert_eq!(get(&https).await.expect("an answer"), 204);
    }

    fn redirect(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn an_answer_counts_though_the_server_closes_right_after_it() {
        let port = serve(|_| "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nok\n".to_owned()).await;
        // Which of answer and end is seen first is a matter of chance.
        for _ in 0..100 {
            assert_eq!(get(&target(port, "/")).await.expect("an answer"), 200);
        }
    }

    #[tokio::test]
    async fn a_redirect_is_followed_on_the_same_host_and_is_the_answer_on_another() {
        let port = serve(|path| match path {
            "/a" => redirect("/b"),
            "/elsewhere" => redirect("http://example.org/"),
            "/round" => redirect("/round"),
            _ => "HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
        })
        .await;
        assert_eq!(get(&target(port, "/a")).await.expect("an answer"), 503);
        assert_eq!(get(&target(port, "/elsewhere")).await.expect("an answer"), 302);
        assert_eq!(get(&target(port, "/round")).await.expect_err("endless").to_string(), "more than 10 redirects");
    }

    #[test]
    fn a_location_may_leave_out_what_stays_the_same() {
        let from = target(8080, "/app/health?full=1");
        let at = |location: &str| follow(&from, location).map(|next| url(&next));
        assert_eq!(at("/login?next=x").as_deref(), Some("http://127.0.0.1:8080/login?next=x"));
        assert_eq!(at("https://example.org/x").as_deref(), Some("https://example.org:443/x"));
        assert_eq!(at("http://[::1]:81").as_deref(), Some("http://[::1]:81/"));
    }
}
