//! One connection and its client, without a worker.
mod drains;
mod http2;
mod slow;
#[cfg(feature = "rustls-0_23")]
mod tls;

use std::time::Duration;

use actix_http::KeepAlive;
use actix_rt::net::{TcpStream, UnixStream};
use actix_web::{App, HttpResponse, web};
use cluster_core::testing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

const LIMIT: Duration = Duration::from_secs(20);

/// A client whose connection the application serves for ever, and the application's listener.
async fn client<F, I, S, B>(factory: F, worker: &Worker) -> (TcpStream, SocketAddr)
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let settings = Settings { keep_alive: KeepAlive::Os, ..Settings::default() };
    served(factory, settings, &Transport::Http1, worker).await
}

/// A client of an application with settings.
async fn client_with<F, I, S, B>(factory: F, settings: Settings, worker: &Worker) -> TcpStream
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    served(factory, settings, &Transport::Http1, worker).await.0
}

fn at(addr: Option<SocketAddr>, transport: &Transport) -> Address<'_> {
    Address { addr, transport, listener: "web" }
}

async fn served<F, I, S, B>(
    factory: F,
    settings: Settings,
    transport: &Transport,
    worker: &Worker,
) -> (TcpStream, SocketAddr)
where
    F: Fn() -> I,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let service = connections(&factory, &settings, at(Some(addr), transport), worker).await.unwrap();
    let client = TcpStream::connect(addr).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    actix_rt::spawn(async move { service.serve(service.meet(stream.into())).await });
    (client, addr)
}

async fn ask(client: &mut TcpStream, request: &str) {
    client.write_all(request.as_bytes()).await.unwrap();
}

async fn rest(client: &mut TcpStream) -> String {
    let mut text = String::new();
    tokio::time::timeout(LIMIT, client.read_to_string(&mut text)).await.expect("it closes").unwrap();
    text
}

async fn where_am_i(worker: Worker, request: actix_web::HttpRequest) -> String {
    let config = request.app_config();
    format!("worker {} at {} as {}", worker.id(), config.local_addr(), config.host())
}

#[actix_web::test]
async fn a_request_is_served_with_the_listeners_address() {
    let worker = testing::worker();
    let app = || App::new().route("/", web::get().to(where_am_i));
    let (mut client, addr) = client(app, &worker).await;
    ask(&mut client, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    let answer = rest(&mut client).await;
    assert!(answer.ends_with(&format!("worker 1 at {addr} as {addr}")), "{answer}");
}

#[actix_web::test]
async fn a_request_on_a_unix_socket_is_served_without_an_address_of_the_client() {
    async fn who(request: actix_web::HttpRequest) -> String {
        format!("{:?} at {}", request.peer_addr(), request.app_config().local_addr())
    }
    let app = || App::new().route("/", web::get().to(who));
    let listener = at(None, &Transport::Http1);
    let service = connections(&app, &Settings::default(), listener, &testing::worker()).await.unwrap();
    let (mut client, ours) = UnixStream::pair().unwrap();
    actix_rt::spawn(async move { service.serve(service.meet(ours.into())).await });
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("None at 127.0.0.1:8080"), "{answer}");
}

#[actix_web::test]
async fn an_application_that_fails_to_start_is_an_error_that_names_its_address() {
    let worker = testing::worker();
    let app = || App::new().data_factory(|| async { Err::<(), _>("no database") });
    let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
    let made = connections(&app, &Settings::default(), at(Some(addr), &Transport::Http1), &worker).await;
    let Err(err) = made else { panic!("made although its data could not be") };
    assert!(err.to_string().contains("127.0.0.1:8080"), "{err}");
}

#[actix_web::test]
async fn a_reason_for_a_failed_start_is_told() {
    let worker = testing::worker();
    let app = || {
        actix_service::fn_factory_with_config(|_: AppConfig| async {
            let never: Result<actix_web::dev::AppService, _> = Err("no database");
            never.map(|_| actix_service::fn_service(|_: Request| async { Ok::<_, Error>(Response::ok()) }))
        })
    };
    let addr = SocketAddr::from(([127, 0, 0, 1], 8080));
    let made = connections(&app, &Settings::default(), at(Some(addr), &Transport::Http1), &worker).await;
    let Err(err) = made else { panic!("made although it could not be") };
    assert!(err.to_string().contains("no database"), "{err}");
}
