//! What can be served: routers, method routers, make services.
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::middleware::AddExtension;
use axum::response::Response;
use axum::routing::MethodRouter;
use tower::{Layer, Service};

use crate::accepted::Accepted;

/// An application to serve: a [`Router`], a [`MethodRouter`], or a make service over [`Accepted`], such as
/// `router.into_make_service_with_connect_info::<T>()`.
///
/// Routers and method routers get `ConnectInfo<SocketAddr>` without being asked to. `K` tells the kinds apart;
/// it is always inferred.
///
/// # Example
/// ```
/// use axum::Router;
/// use axum::extract::ConnectInfo;
/// use axum::handler::HandlerWithoutStateExt;
/// use axum::routing::get;
/// use std::net::SocketAddr;
///
/// async fn who(ConnectInfo(addr): ConnectInfo<SocketAddr>) -> String {
///     format!("you are {addr}")
/// }
///
/// cluster_axum::serve(Router::new().route("/", get(who)));
/// cluster_axum::serve(get(who));
/// cluster_axum::serve(who.into_make_service_with_connect_info::<SocketAddr>());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no application that cluster_axum can serve",
    label = "neither a `Router`, a `MethodRouter` nor a make service over `Accepted<'_>`",
    note = "a router that misses its state (`Router<S>`) gets it by `.with_state(state)`",
    note = "a handler becomes one by `handler.into_make_service()`",
    note = "`impl Connected<IncomingStream<'_, _>>` becomes `impl Connected<cluster_axum::Accepted<'_>>`"
)]
pub trait App<K>: Sized + Send + 'static {
    /// Serves one connection.
    #[doc(hidden)]
    type Service: Service<Request, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static;

    /// Makes the service for a connection.
    #[doc(hidden)]
    fn service_for(&mut self, accepted: Accepted<'_>) -> impl Future<Output = Self::Service> + Send;
}

/// Kinds of applications: what keeps the implementations below apart. Nobody names them.
pub(crate) mod kind {
    /// A router.
    #[derive(Debug)]
    pub struct Plain(());

    /// A service that makes services of type `S`.
    #[derive(Debug)]
    pub struct Make<S>(std::marker::PhantomData<fn() -> S>);
}

impl App<kind::Plain> for Router {
    type Service = AddExtension<Router, ConnectInfo<SocketAddr>>;

    async fn service_for(&mut self, accepted: Accepted<'_>) -> Self::Service {
        Extension(ConnectInfo(*accepted.remote_addr())).layer(self.clone())
    }
}

impl App<kind::Plain> for MethodRouter {
    type Service = AddExtension<MethodRouter, ConnectInfo<SocketAddr>>;

    async fn service_for(&mut self, accepted: Accepted<'_>) -> Self::Service {
        Extension(ConnectInfo(*accepted.remote_addr())).layer(self.clone())
    }
}

impl<M, S> App<kind::Make<S>> for M
where
    M: for<'a> Service<Accepted<'a>, Response = S, Error = Infallible, Future: Send> + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Service = S;

    async fn service_for(&mut self, accepted: Accepted<'_>) -> S {
        poll_fn(|cx| self.poll_ready(cx)).await.unwrap_or_else(|never| match never {});
        self.call(accepted).await.unwrap_or_else(|never| match never {})
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::connect_info::Connected;
    use axum::http::StatusCode;
    use axum::routing::get;
    use cluster_core::Worker;
    use http_body_util::BodyExt;
    use tokio::net::{TcpListener, TcpStream};
    use tower::ServiceExt;

    use super::*;

    /// The answer to `GET /` of an application, and the address of the client that asked.
    async fn ask<K, A: App<K>>(mut app: A) -> (StatusCode, String, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, remote) = listener.accept().await.unwrap();
        let service = app.service_for(Accepted::new(&tcp, remote)).await;
        let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap(), remote)
    }

    async fn who(ConnectInfo(addr): ConnectInfo<SocketAddr>) -> String {
        addr.to_string()
    }

    #[derive(Clone)]
    struct Ends(SocketAddr, SocketAddr);

    impl Connected<Accepted<'_>> for Ends {
        fn connect_info(accepted: Accepted<'_>) -> Self {
            Self(*accepted.remote_addr(), accepted.io().local_addr().unwrap())
        }
    }

    #[tokio::test]
    async fn routers_and_method_routers_know_the_client() {
        let (_, answer, client) = ask(Router::new().route("/", get(who))).await;
        assert_eq!(answer, client.to_string());
        let (_, answer, client) = ask(get(who)).await;
        assert_eq!(answer, client.to_string());
    }

    #[tokio::test]
    async fn make_services_are_called_with_the_connection() {
        let router = Router::new().route("/", get(who));
        let with_info = router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let (_, answer, client) = ask(with_info).await;
        assert_eq!(answer, client.to_string());
        // As with axum::serve, a plain make service tells nobody who the client is.
        assert_eq!(ask(router.into_make_service()).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn connect_info_may_be_of_the_users_own_type() {
        let ends =
            |ConnectInfo(Ends(remote, local)): ConnectInfo<Ends>| async move { format!("{remote} {local}") };
        let app = Router::new().route("/", get(ends)).into_make_service_with_connect_info::<Ends>();
        let (_, answer, client) = ask(app).await;
        let (remote, local) = answer.split_once(' ').unwrap();
        assert_eq!(remote, client.to_string());
        assert!(local.starts_with("127.0.0.1:") && local != remote, "{answer}");
    }

    #[tokio::test]
    async fn a_handler_is_tested_with_a_fake_worker() {
        let app = Router::new().route("/", get(|worker: Worker| async move { worker.id().to_string() }));
        let (status, text, _) = ask(app.clone()).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text.contains("testing::worker()"), "{text}");
        cluster_core::testing::worker();
        assert_eq!(ask(app).await.1, "1");
    }
}
