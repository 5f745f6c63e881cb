//! What can be served: routers, method routers, make services.
use std::convert::Infallible;
use std::future::{Future, poll_fn};

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::MethodRouter;
use tower::Service;

use crate::accepted::Accepted;
use crate::peer::WithPeer;

/// An application to serve: a [`Router`], a [`MethodRouter`], or a make service over [`Accepted`], such as
/// `router.into_make_service_with_connect_info::<T>()`.
///
/// Routers and method routers get `ConnectInfo<SocketAddr>` without being asked to, and on a unix socket
/// `ConnectInfo<`[`UnixPeer`](crate::UnixPeer)`>`; where an application has both kinds of clients,
/// `into_make_service_with_connect_info::<`[`PeerAddr`](crate::PeerAddr)`>()` is for both. `K` tells the kinds of
/// applications apart; it is always inferred.
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
    note = "it takes no listener: `serve(app).bind(addr)`, or `serve(app).listen(cluster_axum::bind_tcp(addr)?)`",
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
    type Service = WithPeer<Router>;

    async fn service_for(&mut self, accepted: Accepted<'_>) -> Self::Service {
        WithPeer::new(self.clone(), &accepted)
    }
}

impl App<kind::Plain> for MethodRouter {
    type Service = WithPeer<MethodRouter>;

    async fn service_for(&mut self, accepted: Accepted<'_>) -> Self::Service {
        WithPeer::new(self.clone(), &accepted)
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
    use std::net::SocketAddr;

    use axum::body::Body;
    use axum::extract::ConnectInfo;
    use axum::extract::connect_info::Connected;
    use axum::http::StatusCode;
    use axum::routing::get;
    use cluster_core::{PeerAddr, Stream, Worker};
    use http_body_util::BodyExt;
    use tokio::net::{TcpListener, TcpStream, UnixStream};
    use tower::ServiceExt;

    use crate::UnixPeer;
    use crate::transport::Transport;

    use super::*;

    /// The answer to `GET /` of an application, and the address of the client that asked.
    async fn ask<K, A: App<K>>(app: A) -> (StatusCode, String, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, remote) = listener.accept().await.unwrap();
        let (status, answer) = ask_on(app, tcp.into(), remote.into()).await;
        (status, answer, remote)
    }

    /// The answer to `GET /` of an application, on a connection.
    async fn ask_on<K, A: App<K>>(mut app: A, stream: Stream, remote: PeerAddr) -> (StatusCode, String) {
        let transport = Transport::Plain(stream);
        let service = app.service_for(Accepted::new(&transport, remote)).await;
        let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    }

    /// The same, for a client on a unix socket, which is this process.
    async fn ask_on_unix<K, A: App<K>>(app: A) -> (StatusCode, String) {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        ask_on(app, ours.into(), PeerAddr::Unix).await
    }

    async fn who(ConnectInfo(addr): ConnectInfo<SocketAddr>) -> String {
        addr.to_string()
    }

    #[derive(Clone)]
    struct Ends(SocketAddr, SocketAddr);

    impl Connected<Accepted<'_>> for Ends {
        fn connect_info(accepted: Accepted<'_>) -> Self {
            let tcp = accepted.io().tcp().unwrap();
            Self(accepted.remote_addr().tcp().unwrap(), tcp.local_addr().unwrap())
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
    async fn a_client_on_a_unix_socket_is_known_by_its_credentials() {
        let who = |ConnectInfo(peer): ConnectInfo<UnixPeer>| async move { format!("{peer:?}") };
        let (status, answer) = ask_on_unix(Router::new().route("/", get(who))).await;
        assert_eq!(status, StatusCode::OK);
        assert!(answer.contains(&format!("pid: Some({})", std::process::id())), "{answer}");
        // It has no address, and none is made up.
        assert_eq!(ask_on_unix(get(self::who)).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn one_connect_info_is_for_both_kinds_of_clients() {
        let who = |ConnectInfo(peer): ConnectInfo<PeerAddr>| async move { peer.to_string() };
        let app = Router::new().route("/", get(who)).into_make_service_with_connect_info::<PeerAddr>();
        assert_eq!(ask_on_unix(app.clone()).await.1, "unix");
        let (_, answer, client) = ask(app).await;
        assert_eq!(answer, client.to_string());
        let app = Router::new().route("/", get(self::who));
        let (_, answer) = ask_on_unix(app.into_make_service_with_connect_info::<SocketAddr>()).await;
        assert_eq!(answer, "0.0.0.0:0");
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
