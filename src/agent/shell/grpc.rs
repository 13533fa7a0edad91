//! The gRPC health check: <https://github.com/grpc/grpc/blob/master/doc/health-checking.md>.

use crate::causes::in_full;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

const METHOD: &str = "/grpc.health.v1.Health/Check";

/// `grpc.health.v1.HealthCheckRequest`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

/// Asks a server for the health of a service (empty: of the server).
///
/// # Errors
/// Whatever is not `SERVING`, in one sentence.
pub(super) async fn check(host: &str, port: u16, service: &str) -> Result<(), String> {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let endpoint = Endpoint::from_shared(format!("http://{host}:{port}")).map_err(|error| error.to_string())?;
    let endpoint =
        endpoint.user_agent(concat!("driftless-probe/", env!("CARGO_PKG_VERSION"))).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| format!("cannot connect: {}", in_full(&error)))?;
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| format!("cannot connect: {}", in_full(&error)))?;
    let request = Request::new(HealthCheckRequest { service: service.to_owned() });
    let codec: ProstCodec<HealthCheckRequest, HealthCheckResponse> = ProstCodec::default();
    match client.unary(request, PathAndQuery::from_static(METHOD), codec).await {
        Ok(answer) => match ServingStatus::try_from(answer.get_ref().status) {
            Ok(ServingStatus::Serving) => Ok(()),
            Ok(status) => Err(format!("{status:?}")),
            Err(_) => Err("an answer that is not known".to_owned()),
        },
        Err(status) if status.code() == Code::Unimplemented => Err("the server does not offer grpc.health.v1.Health".to_owned()),
        Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
    }
}

#[cfg(test)]
mod tests {
    use super::{HealthCheckRequest, HealthCheckResponse, METHOD, ServingStatus, check};
    use futures_util::future::BoxFuture;
    use std::convert::Infallible;
    use std::task::{Context, Poll};
    use tokio::net::TcpListener;
    use tokio_stream::wrappers::TcpListenerStream;
    use tonic::body::Body;
    use tonic::codegen::http;
    use tonic::server::{Grpc, NamedService, UnaryService};
    use tonic::transport::Server;
    use tonic::{Request, Response, Status};
    use tonic_prost::ProstCodec;

    /// Serves `shop`, is about to serve `bank`, and knows no other.
    #[derive(Clone)]
    struct Health;

    impl NamedService for Health {
        const NAME: &'static str = "grpc.health.v1.Health";
    }

    impl UnaryService<HealthCheckRequest> for Health {
        type Response = HealthCheckResponse;
        type Future = std::future::Ready<Result<Response<HealthCheckResponse>, Status>>;

        fn call(&mut self, request: Request<HealthCheckRequest>) -> Self::Future {
            let status = match request.get_ref().service.as_str() {
                "" | "shop" => ServingStatus::Serving,
                "bank" => ServingStatus::NotServing,
                _ => return std::future::ready(Err(Status::not_found("unknown service"))),
            };
            std::future::ready(Ok(Response::new(HealthCheckResponse { status: status as i32 })))
        }
    }

    impl tower::Service<http::Request<Body>> for Health {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            assert_eq!(request.uri().path(), METHOD);
            Box::pin(async { Ok(Grpc::new(ProstCodec::default()).unary(Health, request).await) })
        }
    }

    #[tokio::test]
    async fn only_a_service_that_serves_is_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(Server::builder().add_service(Health).serve_with_incoming(TcpListenerStream::new(listener)));
        assert_eq!(check("127.0.0.1", port, "").await, Ok(()));
        assert_eq!(check("127.0.0.1", port, "shop").await, Ok(()));
        assert_eq!(check("127.0.0.1", port, "bank").await, Err("NotServing".to_owned()));
        assert_eq!(check("127.0.0.1", port, "post").await, Err("NotFound: unknown service".to_owned()));
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure() {
        let port = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address").port();
        let message = check("127.0.0.1", port, "").await.expect_err("nobody listens");
        assert!(message.contains("refused"), "{message}");
    }
}
