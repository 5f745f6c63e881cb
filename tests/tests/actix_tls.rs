//! HTTPS of actix-web by rustls.
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use cluster_tests::{Folder, METHODS, Process, connect, eventually, subject};

const SERVER: &str = env!("CARGO_BIN_EXE_actix_server");

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The server, and what its clients know of it.
struct Https {
    app: Process,
    cert: CertificateDer<'static>,
    _folder: Folder,
}

impl Https {
    fn start(method: &str) -> Self {
        let folder = Folder::new("tls");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
        fs::write(&cert, made.cert.pem()).unwrap();
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let knobs = ["tls", cert.to_str().unwrap(), key.to_str().unwrap()];
        let app = Process::start(subject(SERVER, method, &knobs)).unwrap();
        Self { app, cert: made.cert.der().clone(), _folder: folder }
    }

    /// A client that offers these protocols.
    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> Secure {
        secured(self.app.addr(), config)
    }
}

fn secured(addr: SocketAddr, config: &Arc<ClientConfig>) -> Secure {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), connect(addr).unwrap())
}

fn ask(mut stream: Secure) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // actix-http closes without a word of TLS.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn https_tells_the_application_that_it_is_secure_and_on_connect_sees_the_tls_stream() {
    for method in METHODS {
        let https = Https::start(method);
        let client = https.client(&["http/1.1"]);
        let answer = ask(https.connect(&client));
        assert!(answer.ends_with("HTTP/1.1 new true"), "{method}: {answer}");
        assert!(https.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_session_is_taken_up_again_by_any_worker() {
    for method in METHODS {
        let https = Https::start(method);
        // It keeps its tickets from one connection to the next.
        let client = https.client(&["http/1.1"]);
        assert!(ask(https.connect(&client)).contains(" new "), "{method}");
        let mut workers = HashSet::new();
        eventually("each worker resumes a session", || {
            let answer = ask(https.connect(&client));
            assert!(answer.ends_with("HTTP/1.1 resumed true"), "{method}: {answer}");
            workers.insert(answer[..1].to_owned());
            workers.len() == 2
        });
        assert!(https.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn http_2_is_chosen_where_the_client_offers_it() {
    let https = Https::start("fork");
    let mut stream = https.connect(&https.client(&["h2", "http/1.1"]));
    // The client's first words, and no request: the server answers with SETTINGS.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(head[3], 4, "{head:?}");
    drop(stream);
    assert!(https.app.stop().unwrap().success());
}

#[test]
fn silent_handshakes_hold_nobody_up_and_end_at_their_deadline() {
    let https = Https::start("fork");
    let addr = https.app.addr();
    // More than actix-web has at a time in two workers.
    let silent: Vec<_> = (0..600).map(|_| connect(addr).unwrap()).collect();
    let begin = Instant::now();
    let client = https.client(&["http/1.1"]);
    for _ in 0..20 {
        ask(https.connect(&client));
    }
    assert!(begin.elapsed() < Duration::from_millis(1500), "{:?}", begin.elapsed());
    let ends = silent
        .into_iter()
        .map(|mut silent| thread::spawn(move || silent.read(&mut [0]).map_or(0, |read| read)));
    for end in ends.collect::<Vec<_>>() {
        assert_eq!(end.join().unwrap(), 0);
    }
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert!(https.app.stop().unwrap().success());
}
