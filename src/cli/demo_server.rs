//! The programs of the example shop: tiny, so that the demo needs nothing but this binary.
//!
//! Everything they show comes from the environment and files that their manifests give them: that is what they are for.

use super::{CliError, CliResult};
use crate::causes::in_full;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::{Args, ValueEnum};
use http_body_util::{BodyExt, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// A workload of the example shop.
#[derive(Debug, Args)]
pub struct DemoServerArgs {
    /// Which part of the shop to be.
    #[arg(value_enum)]
    role: Role,
    /// The address to listen on; a host process gets it in HOST.
    #[arg(long, env = "HOST", default_value = "0.0.0.0")]
    host: IpAddr,
    /// The port to listen on; a host process gets it in PORT.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// The release that it says it is.
    #[arg(long, env = "VERSION", default_value = "v1")]
    release: String,
    /// What the web says first, from the ConfigMap.
    #[arg(long, env = "GREETING", default_value = "Hello")]
    greeting: String,
    /// The pod's name, from the downward API.
    #[arg(long, env = "POD_NAME", default_value = "unknown")]
    pod: String,
    /// A file with the token that the api must hold, from the Secret. It is only checked to be there.
    #[arg(long, env = "TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// `host:port` of the api, for the web; `host:port` of the web, for the worker.
    #[arg(long, env = "UPSTREAM")]
    upstream: Option<String>,
}

/// The parts of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Greets, and asks the api for the price.
    Web,
    /// Knows the price.
    Api,
    /// Visits the web every few seconds and logs what it sees.
    Worker,
}

type Http = Client<HttpConnector, Empty<bytes::Bytes>>;

struct Shop {
    args: DemoServerArgs,
    /// Keeps connections for the next question.
    http: Http,
    /// A new connection for every question.
    fresh: Http,
}

impl Shop {
    fn new(args: DemoServerArgs) -> Self {
        let http = Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(1)).build_http();
        let fresh = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { args, http, fresh }
    }
}

/// Runs the part of the shop until it is told to stop.
///
/// # Errors
/// If it cannot listen, or the token file cannot be read.
pub(super) fn run(args: DemoServerArgs) -> CliResult<ExitCode> {
    if let Some(path) = &args.token_file {
        std::fs::metadata(path).map_err(|error| CliError::with_source(format!("no token at {}", path.display()), error))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::with_source("cannot start the runtime", error))?;
    runtime.block_on(async {
        let shop = Arc::new(Shop::new(args));
        match shop.args.role {
            Role::Web | Role::Api => serve(shop).await,
            Role::Worker => work(&shop).await,
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(shop: Arc<Shop>) -> CliResult<()> {
    let address = SocketAddr::new(shop.args.host, shop.args.port);
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|error| CliError::with_source(format!("cannot listen on {address}"), error))?;
    let page = if shop.args.role == Role::Web { get(web) } else { get(api) };
    let router = Router::new().route("/", page).route("/healthz", get(|| async { "ok\n" })).with_state(shop);
    axum::serve(listener, router)
        .with_graceful_shutdown(terminated())
        .await
        .map_err(|error| CliError::with_source("the server failed", error))
}

/// What a visitor sees: the greeting, the release, the pod, and what the api said.
async fn web(State(shop): State<Arc<Shop>>) -> Response {
    let args = &shop.args;
    let price = match shop.ask_upstream().await {
        Ok(answer) => answer,
        Err(reason) => return (StatusCode::BAD_GATEWAY, format!("the api does not answer: {reason}\n")).into_response(),
    };
    text(format!("{} from web {} ({}); {price}", args.greeting, args.release, args.pod))
}

async fn api(State(shop): State<Arc<Shop>>) -> Response {
    let args = &shop.args;
    text(format!("api {} ({}) says 4.20\n", args.release, args.pod))
}

fn text(body: String) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

async fn work(shop: &Shop) -> CliResult<()> {
    let mut stop = std::pin::pin!(terminated());
    let mut every = tokio::time::interval(Duration::from_secs(2));
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = every.tick() => {
                let line = match shop.ask_upstream().await {
                    Ok(answer) => format!("saw: {}", answer.trim_end()),
                    Err(reason) => format!("the web does not answer: {reason}"),
                };
                super::print_line(&line)?;
            }
        }
    }
}

impl Shop {
    /// The body of the upstream's `/`. A server that ends closes the connections that clients keep, so a question that was on its way over
    /// one is asked again over a new one (RFC 9110, section 9.2.2): another from the pool may have been closed at the same moment.
    async fn ask_upstream(&self) -> Result<String, String> {
        let Some(upstream) = &self.args.upstream else { return Ok("no upstream\n".to_owned()) };
        let uri: hyper::Uri = format!("http://{upstream}/").parse().map_err(|error| format!("{upstream:?}: {error}"))?;
        let response = match self.http.get(uri.clone()).await {
            Ok(response) => response,
            Err(_) => self.fresh.get(uri).await.map_err(|error| in_full(&error))?,
        };
        let body = response.into_body().collect().await.map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }
}

/// Ends with SIGTERM or SIGINT.
async fn terminated() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{DemoServerArgs, Shop};
    use clap::Parser;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Barrier;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DemoServerArgs,
    }

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n4.20\n";

    /// Answers once, when everybody who is waited for has asked; closes the connection at the next question.
    async fn answer_once(mut stream: TcpStream, asked: Option<Arc<Barrier>>) -> std::io::Result<()> {
        let mut buffer = [0; 1024];
        let _ = stream.read(&mut buffer).await?;
        if let Some(asked) = asked {
            asked.wait().await;
        }
        stream.write_all(ANSWER).await?;
        let _ = stream.read(&mut buffer).await?;
        Ok(())
    }

    #[tokio::test]
    async fn a_question_is_answered_though_every_kept_connection_was_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let upstream = listener.local_addr().expect("its address").to_string();
        tokio::spawn(async move {
            let both = Arc::new(Barrier::new(2));
            for count in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                tokio::spawn(answer_once(stream, (count < 2).then(|| Arc::clone(&both))));
            }
        });
        let line = Line::parse_from(["shop", "web", "--upstream", &upstream]);
        let shop = Shop::new(line.args);
        let (first, second) = tokio::join!(shop.ask_upstream(), shop.ask_upstream());
        assert_eq!((first, second), (Ok("4.20\n".to_owned()), Ok("4.20\n".to_owned())));
        assert_eq!(shop.ask_upstream().await, Ok("4.20\n".to_owned()), "both kept connections end at their second question");
    }
}
