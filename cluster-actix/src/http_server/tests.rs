//! What is known of a server before it starts.
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use actix_web::test::{TestRequest, call_and_read_body, init_service};
use actix_web::{App, web};
use cluster_core::{Worker, testing};

use super::*;

async fn hello(worker: Worker) -> String {
    format!("hello from worker {} in slot {}", worker.id(), worker.slot())
}

#[actix_web::test]
async fn the_worker_is_an_extractor() {
    testing::worker();
    let app = init_service(App::new().route("/", web::get().to(hello))).await;
    let body = call_and_read_body(&app, TestRequest::get().uri("/").to_request()).await;
    assert_eq!(body, "hello from worker 1 in slot 0");
}

#[test]
fn the_worker_outside_of_one_is_an_error_that_says_so() {
    // A fresh thread: another test may have lent this one a worker.
    let body = std::thread::spawn(|| {
        actix_rt::System::new().block_on(async {
            let app = init_service(App::new().route("/", web::get().to(hello))).await;
            call_and_read_body(&app, TestRequest::get().uri("/").to_request()).await
        })
    });
    let body = body.join().unwrap();
    assert!(body.starts_with(b"this handler runs outside a worker"), "{body:?}");
}

#[test]
fn the_longest_time_there_is_overflows_no_clock() {
    let longest = Duration::MAX;
    let server = HttpServer::new(App::new)
        .client_request_timeout(longest)
        .client_body_timeout(longest)
        .client_write_timeout(longest)
        .client_disconnect_timeout(longest);
    let Settings {
        client_request_timeout,
        client_body_timeout,
        client_write_timeout,
        client_disconnect_timeout,
        ..
    } = server.settings;
    for limit in
        [client_request_timeout, client_body_timeout, client_write_timeout, client_disconnect_timeout]
    {
        assert!(Instant::now().checked_add(limit).is_some());
    }
}

#[test]
fn an_address_that_is_taken_is_named_at_bind() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let Err(err) = HttpServer::new(App::new).bind(addr) else { panic!("bound twice") };
    assert_eq!(err.kind(), io::ErrorKind::AddrInUse);
    assert!(err.to_string().contains(&addr.to_string()), "{err}");
}

#[test]
fn each_address_of_each_bind_is_known_before_the_start() {
    let server = HttpServer::new(App::new).bind("127.0.0.1:0").unwrap().bind(("127.0.0.1", 0)).unwrap();
    let addrs = server.addrs();
    assert_eq!(addrs.len(), 2);
    assert_ne!(addrs[0], addrs[1]);
}

#[test]
fn all_addresses_of_a_name_are_bound_and_have_one_port() {
    use std::net::ToSocketAddrs;
    let server = HttpServer::new(App::new).bind("localhost:0").unwrap();
    let mut bound: Vec<_> = server.addrs().iter().map(SocketAddr::ip).collect();
    let mut known: Vec<_> = "localhost:0".to_socket_addrs().unwrap().map(|addr| addr.ip()).collect();
    bound.sort();
    known.sort();
    known.dedup();
    // A name may have addresses of a family that this machine has not.
    known.retain(|ip| TcpListener::bind((*ip, 0)).is_ok());
    assert_eq!(bound, known);
    assert!(server.addrs().iter().all(|addr| addr.port() == server.addrs()[0].port()));
}

#[test]
#[should_panic(expected = "at least one bound socket")]
fn a_server_without_a_listener_is_refused() {
    drop(HttpServer::new(App::new).run());
}

#[test]
fn zero_workers_are_refused_at_start() {
    let server = HttpServer::new(App::new).workers(0).bind("127.0.0.1:0").unwrap().run();
    let err = server.join().unwrap_err();
    assert_eq!(err.kind(), io::ErrorKind::InvalidInput);
    assert!(err.to_string().contains("0 workers"), "{err}");
}
