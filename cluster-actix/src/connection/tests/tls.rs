//! Connections with TLS.
use std::sync::Arc;

use cluster_core::Stream;
use cluster_core::adapter::HALF_SENT;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

type Certified = rcgen::CertifiedKey<rcgen::KeyPair>;

fn certified() -> Certified {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

/// A client's side of a connection, with these protocols offered.
async fn shake_hands<S: ActixStream>(io: S, server: &Certified, offered: &[&str]) -> TlsStream<S> {
    let mut roots = RootCertStore::empty();
    roots.add(server.cert.der().clone()).unwrap();
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = offered.iter().map(|offered| offered.as_bytes().to_vec()).collect();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await.unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The answer to a request, and the protocol that was agreed on.
async fn ask_secured<S>(io: S, server: &Certified, offered: &[&str]) -> (String, Option<String>)
where
    S: ActixStream + Send + 'static,
{
    let mut stream = shake_hands(io, server, offered).await;
    let agreed =
        stream.get_ref().1.alpn_protocol().map(|agreed| String::from_utf8_lossy(agreed).into_owned());
    if agreed.as_deref() == Some("h2") {
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        actix_rt::spawn(connection);
        let request = http::Request::get("https://localhost/").body(()).unwrap();
        let mut body = send.send_request(request, true).unwrap().0.await.unwrap().into_body();
        let text = body.data().await.unwrap().unwrap();
        return (String::from_utf8_lossy(&text).into_owned(), agreed);
    }
    stream.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    // actix-http closes without a word of TLS.
    let _ = stream.read_to_end(&mut answer).await;
    (String::from_utf8(answer).unwrap(), agreed)
}

struct OnTls;

/// Settings that note whether a connection is one of `T`.
fn noting<T: 'static>() -> Settings {
    let on_connect = |connection: &dyn Any, data: &mut actix_http::Extensions| {
        if connection.is::<T>() {
            data.insert(OnTls);
        }
    };
    Settings { on_connect: Some(Arc::new(on_connect)), ..Settings::default() }
}

async fn how(request: actix_web::HttpRequest) -> String {
    let noted = request.conn_data::<OnTls>().is_some();
    format!("{} secure {} noted {noted}", request.connection_info().scheme(), request.app_config().secure())
}

const SECURE: &str = "https secure true noted true";

/// Both ends of a connection, and where the server listens.
async fn tcp() -> (TcpStream, Stream, Option<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let client = TcpStream::connect(addr).await.unwrap();
    (client, listener.accept().await.unwrap().0.into(), Some(addr))
}

async fn unix() -> (UnixStream, Stream, Option<SocketAddr>) {
    let (client, server) = UnixStream::pair().unwrap();
    (client, server.into(), None)
}

/// Both versions, as ALPN chooses; and a client that offers nothing. `on_connect` gets a `T`.
async fn check<T, S>(
    transport: &Transport,
    certified: &Certified,
    connect: impl AsyncFn() -> (S, Stream, Option<SocketAddr>),
) where
    T: 'static,
    S: ActixStream + Send + 'static,
{
    let app = || App::new().route("/", web::get().to(how));
    for (offered, expected) in
        [(&["h2", "http/1.1"][..], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)]
    {
        let (client, server, addr) = connect().await;
        let service = connections(&app, &noting::<T>(), at(addr, transport), &testing::worker()).await;
        let service = service.unwrap();
        actix_rt::spawn(async move { service.serve(service.meet(server)).await });
        let (answer, agreed) = ask_secured(client, certified, offered).await;
        assert!(answer.ends_with(SECURE), "{answer}");
        assert_eq!(agreed.as_deref(), expected);
    }
}

fn rustls_transport(certified: &Certified) -> Transport {
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
    Transport::Rustls(crate::transport::rustls::complete(config))
}

#[actix_web::test]
async fn rustls_serves_both_versions_and_on_connect_gets_its_stream() {
    use crate::transport::rustls::TlsStream;
    let certified = certified();
    let transport = rustls_transport(&certified);
    check::<TlsStream<TcpStream>, _>(&transport, &certified, tcp).await;
    check::<TlsStream<UnixStream>, _>(&transport, &certified, unix).await;
}

#[actix_web::test]
async fn on_a_unix_socket_with_tls_nothing_is_answered_in_the_clear() {
    let transport = rustls_transport(&certified());
    let (mut client, server, addr) = unix().await;
    let service =
        connections(&App::new, &Settings::default(), at(addr, &transport), &testing::worker()).await.unwrap();
    actix_rt::spawn(async move { service.serve(service.meet(server)).await });
    client.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    // TLS's own alert, or just the end.
    let _ = client.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[actix_web::test]
async fn a_handshake_that_takes_too_long_ends() {
    let settings = Settings { tls_handshake_timeout: Duration::from_millis(100), ..Settings::default() };
    let transport = rustls_transport(&certified());
    let (mut silent, _) = served(App::new, settings, &transport, &testing::worker()).await;
    assert_eq!(rest(&mut silent).await, "");
}

#[actix_web::test]
async fn a_drain_waits_five_seconds_for_who_does_not_shake_hands() {
    let settings = Settings { tls_handshake_timeout: Duration::from_secs(3600), ..Settings::default() };
    let worker = testing::worker();
    let (mut silent, _) = served(App::new, settings, &rustls_transport(&certified()), &worker).await;
    tokio::time::pause();
    let drained = tokio::time::Instant::now();
    testing::drain();
    worker.end_lame_duck();
    assert_eq!(rest(&mut silent).await, "");
    assert!(drained.elapsed().abs_diff(HALF_SENT) < Duration::from_millis(100), "{:?}", drained.elapsed());
}

#[actix_web::test]
async fn who_ends_its_handshake_after_the_lame_duck_is_answered_once() {
    let (certified, worker) = (certified(), testing::worker());
    let app = || App::new().route("/", web::get().to(how));
    let (tcp, _) = served(app, Settings::default(), &rustls_transport(&certified), &worker).await;
    testing::drain();
    worker.end_lame_duck();
    let mut stream = shake_hands(tcp, &certified, &["http/1.1"]).await;
    // It does not ask in the same moment.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    stream.write_all(GET).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.ends_with("https secure true noted false"), "{answer}");
}

#[cfg(feature = "openssl")]
#[actix_web::test]
async fn openssl_serves_both_versions_and_on_connect_gets_its_stream() {
    use openssl::pkey::PKey;
    use openssl::ssl::{SslAcceptor, SslMethod};
    use openssl::x509::X509;

    use crate::transport::openssl::TlsStream;
    let certified = certified();
    let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    let key = PKey::private_key_from_pem(certified.signing_key.serialize_pem().as_bytes()).unwrap();
    tls.set_private_key(&key).unwrap();
    tls.set_certificate(&X509::from_pem(certified.cert.pem().as_bytes()).unwrap()).unwrap();
    let transport = Transport::Openssl(crate::transport::openssl::complete(tls).unwrap());
    check::<TlsStream<TcpStream>, _>(&transport, &certified, tcp).await;
    check::<TlsStream<UnixStream>, _>(&transport, &certified, unix).await;
}
