//! Every public method of actix-web's `HttpServer` is there, or its page says what to call instead.
use std::time::Duration;

use actix_web::App;
use cluster_actix::{HttpServer, bind_tcp, bind_uds};

use cluster_tests::Folder;

/// Those of actix-web 4.18, in the order of its source.
const METHODS: [&str; 42] = [
    "new",
    "workers",
    "keep_alive",
    "tcp_nodelay",
    "backlog",
    "max_connections",
    "max_connection_rate",
    "worker_max_blocking_threads",
    "client_request_timeout",
    "client_timeout",
    "client_disconnect_timeout",
    "tls_handshake_timeout",
    "client_shutdown",
    "h1_allow_half_closed",
    "h1_write_buffer_size",
    "h2_initial_window_size",
    "h2_initial_connection_window_size",
    "on_connect",
    "server_hostname",
    "system_exit",
    "disable_signals",
    "shutdown_signal",
    "shutdown_timeout",
    "addrs",
    "addrs_with_scheme",
    "bind",
    "bind_auto_h2c",
    "bind_rustls",
    "bind_rustls_021",
    "bind_rustls_0_22",
    "bind_rustls_0_23",
    "bind_openssl",
    "listen",
    "listen_auto_h2c",
    "listen_rustls",
    "listen_rustls_0_21",
    "listen_rustls_0_22",
    "listen_rustls_0_23",
    "listen_openssl",
    "bind_uds",
    "listen_uds",
    "run",
];

/// Of versions of rustls that nobody maintains: the page says so.
const NOT_THERE: [&str; 6] = [
    "bind_rustls",
    "bind_rustls_021",
    "bind_rustls_0_22",
    "listen_rustls",
    "listen_rustls_0_21",
    "listen_rustls_0_22",
];

const PAGE: &str = include_str!("../../docs/actix.md");

/// The rows of the page's table of methods: the name, and what it says.
fn rows() -> Vec<(&'static str, &'static str)> {
    let (_, table) = PAGE.split_once("## Every method").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    rows.collect()
}

#[test]
fn the_page_lists_every_method_in_order_and_what_becomes_of_it() {
    let rows = rows();
    let names: Vec<_> = rows.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, METHODS);
    for (name, says) in rows {
        assert!(says.len() > "| x |".len(), "{name}");
        assert_eq!(says.starts_with("not there"), NOT_THERE.contains(&name), "{name}: {says}");
    }
    assert!(PAGE.lines().nth(2).unwrap().starts_with("**Shared memory is now per process.**"));
}

/// A call of each, as programs have them. What is only a setting is checked to be taken; what binds, binds.
#[actix_web::test]
#[allow(deprecated)]
async fn each_method_is_called_as_with_actix_web() {
    let folder = Folder::new("methods");
    let server = HttpServer::new(App::new)
        .workers(2)
        .keep_alive(Duration::from_secs(75))
        .tcp_nodelay(true)
        .backlog(1024)
        .max_connections(1000)
        .max_connection_rate(256)
        .worker_max_blocking_threads(16)
        .client_request_timeout(Duration::from_secs(5))
        .client_timeout(Duration::from_secs(5))
        .client_disconnect_timeout(Duration::from_secs(1))
        .client_shutdown(1000)
        .tls_handshake_timeout(Duration::from_secs(3))
        .h1_allow_half_closed(false)
        .h1_write_buffer_size(64 * 1024)
        .h2_initial_window_size(1 << 20)
        .h2_initial_connection_window_size(1 << 21)
        .on_connect(|connection, data| {
            if let Some(tcp) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
                data.insert(tcp.peer_addr().ok());
            }
        })
        .server_hostname("shop.example")
        .server_hostname(String::from("shop.example"))
        .system_exit()
        .disable_signals()
        .shutdown_signal(async { tokio::time::sleep(Duration::from_secs(3600)).await })
        .shutdown_timeout(10);
    let server = server
        .bind("127.0.0.1:0")
        .and_then(|server| server.bind(("127.0.0.1", 0)))
        .and_then(|server| server.bind_auto_h2c(("127.0.0.1", 0)))
        .and_then(|server| server.bind_rustls_0_23("127.0.0.1:0", rustls_config()))
        .and_then(|server| server.listen(bind_tcp("127.0.0.1:0")?))
        .and_then(|server| server.listen_auto_h2c(bind_tcp("127.0.0.1:0")?))
        .and_then(|server| server.listen_rustls_0_23(bind_tcp("127.0.0.1:0")?, rustls_config()))
        .and_then(|server| server.bind_uds(folder.path("one.sock")))
        .and_then(|server| server.listen_uds(bind_uds(folder.path("two.sock"))?))
        .unwrap();
    let (addrs, with_scheme) = (server.addrs(), server.addrs_with_scheme());
    assert_eq!(addrs.len(), 9);
    let schemes: Vec<_> = with_scheme.iter().map(|(_, scheme)| *scheme).collect();
    assert_eq!(schemes, ["http", "http", "http", "https", "http", "http", "https", "http", "http"]);
    assert!(with_scheme.iter().map(|(addr, _)| *addr).eq(addrs.iter().copied()));
    assert!(addrs[..7].iter().all(|addr| addr.port() != 0 && addr.ip().is_loopback()));
    let unix = "127.0.0.1:8080".parse().unwrap();
    assert_eq!(addrs[7..], [unix, unix]);
    drop(server.run());
}

fn rustls_config() -> rustls::ServerConfig {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap()
}

#[cfg(feature = "openssl")]
#[test]
fn the_methods_for_openssl_are_called_as_with_actix_web() {
    use openssl::ssl::{SslAcceptor, SslMethod};
    let tls = || SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    let server = HttpServer::new(App::new).bind_openssl("127.0.0.1:0", tls()).unwrap();
    let server = server.listen_openssl(bind_tcp("127.0.0.1:0").unwrap(), tls()).unwrap();
    assert!(server.addrs_with_scheme().iter().all(|(_, scheme)| *scheme == "https"));
    drop(server.run());
}
