//! HTTPS of actix-web by rustls.
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Request;
use h2::client::{ResponseFuture, SendRequest};
use nix::sys::signal::Signal;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind};
use tokio_rustls::TlsConnector;

use cluster_tests::tls::{self, HOST, Pair, VERSIONS};
use cluster_tests::{Folder, METHODS, Process, WorkerProcess, connect, eventually, signal, subject};

const SERVER: &str = env!("CARGO_BIN_EXE_actix_server");

/// The server, and what its clients know of it.
struct Https {
    app: Process,
    pair: Pair,
    folder: Folder,
}

impl Https {
    fn start(method: &str) -> Self {
        Self::start_with(method, &[])
    }

    fn start_with(method: &str, more: &[&str]) -> Self {
        let folder = Folder::new("tls");
        let pair = Pair::make(&folder, "site");
        let knobs = ["tls", pair.cert.to_str().unwrap(), pair.key.to_str().unwrap()];
        let mut command = subject(SERVER, method, &[&knobs, more].concat());
        command.stderr(fs::File::create(folder.path("log")).unwrap());
        let app = Process::start(command).unwrap();
        Self { app, pair, folder }
    }

    /// A client that offers these protocols.
    fn client(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        Arc::new(tls::client(&[&self.pair], &VERSIONS, protocols))
    }

    fn connect(&self, config: &Arc<ClientConfig>) -> tls::Asked {
        tls::on(connect(self.app.addr()).unwrap(), config).unwrap()
    }

    /// Reloads, and waits for what comes of it.
    fn reload(&self, outcome: &str) {
        signal(self.app.pid(), Signal::SIGHUP).unwrap();
        self.app.wait_for_line(outcome, 0).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }
}

/// What is answered, and the session that it came in.
fn get(mut stream: tls::Asked) -> (String, tls::Asked) {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // actix-http closes without a word of TLS.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    (answer.split_once("\r\n\r\n").unwrap().1.to_owned(), stream)
}

fn ask(stream: tls::Asked) -> String {
    get(stream).0
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

#[test]
fn there_are_never_more_handshakes_at_a_time_than_are_said() {
    let https = Https::start_with("fork", &["1"]);
    let client = https.client(&["http/1.1"]);
    // Each of the two workers has one that does not go on, for 2 s.
    let begun = Instant::now();
    let stuck: Vec<_> = (0..2).map(|_| connect(https.app.addr()).unwrap()).collect();
    ask(https.connect(&client));
    assert!(begun.elapsed() > Duration::from_millis(1500), "it was let in after {:?}", begun.elapsed());
    drop(stuck);
    assert!(https.app.stop().unwrap().success());
}

#[test]
fn a_reload_shows_the_new_certificate_and_fails_no_request() {
    for method in METHODS {
        let https = Https::start(method);
        let new = Pair::make(&https.folder, "new");
        // They trust both, and begin anew each time.
        let mut client = tls::client(&[&https.pair, &new], &VERSIONS, &["http/1.1"]);
        client.resumption = Resumption::disabled();
        let client = Arc::new(client);
        let (ends, addr) = (Arc::new(AtomicBool::new(false)), https.app.addr());
        let come = |_| {
            let (ends, client) = (ends.clone(), client.clone());
            thread::spawn(move || {
                let mut served = 0;
                while !ends.load(Relaxed) {
                    ask(tls::on(connect(addr).unwrap(), &client).unwrap());
                    served += 1;
                }
                served
            })
        };
        let clients: Vec<_> = (0..3).map(come).collect();
        let shows = |pair: &Pair| pair.is_shown_in(&get(https.connect(&client)).1.conn);
        let remembers = Arc::new(tls::client(&[&https.pair, &new], &VERSIONS, &["http/1.1"]));
        assert!(ask(https.connect(&remembers)).contains(" new "), "{method}");
        let is_new = new.twin();
        new.replace(&https.pair);
        assert!(shows(&https.pair), "{method}: nobody has reloaded");
        https.reload("reloaded");
        eventually("the new certificate is shown", || (0..20).all(|_| shows(&is_new)));
        // A session of the generation before begins anew.
        let (answer, session) = get(https.connect(&remembers));
        assert!(answer.contains(" new ") && is_new.is_shown_in(&session.conn), "{method}: {answer}");
        assert_eq!(session.conn.handshake_kind(), Some(HandshakeKind::Full), "{method}");
        ends.store(true, Relaxed);
        assert!(clients.into_iter().all(|client| client.join().unwrap() > 0), "{method}");
        assert!(https.app.stop().unwrap().success(), "{method}");
    }
}

#[test]
fn a_reload_with_a_broken_certificate_changes_nothing_and_says_why() {
    for method in METHODS {
        let https = Https::start(method);
        let before: Vec<u32> = https.app.workers().iter().map(|worker| worker.pid).collect();
        // The key of another certificate.
        fs::copy(Pair::make(&https.folder, "other").key, &https.pair.key).unwrap();
        https.reload("reload-failed");
        eventually("it is logged", || https.log().contains("reload failed"));
        let log = https.log();
        let line = log.lines().find(|line| line.contains("reload failed")).unwrap_or_default();
        assert!(line.contains("they belong together"), "{method}: the program's own words: {line}");
        let after: Vec<u32> = https.app.workers().iter().map(|worker| worker.pid).collect();
        assert_eq!(after, before, "{method}");
        let (_, session) = get(https.connect(&https.client(&["http/1.1"])));
        assert!(https.pair.is_shown_in(&session.conn), "{method}");
        assert!(https.app.stop().unwrap().success(), "{method}");
    }
}

/// What becomes of requests of HTTP/2, whose clients obey GOAWAY.
#[derive(Default)]
struct Tally {
    served: AtomicU64,
    /// The server has said that it did not take them.
    asked_again: AtomicU64,
    goodbyes: AtomicU64,
    ends: AtomicBool,
}

impl Tally {
    /// Connection after connection, with four requests at a time on each.
    async fn keep_asking(&self, addr: SocketAddr, config: Arc<ClientConfig>) {
        while !self.ends.load(Relaxed) {
            let tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
            let name = ServerName::try_from(HOST).unwrap();
            let stream = TlsConnector::from(config.clone()).connect(name, tcp).await.unwrap();
            let (requests, connection) = h2::client::handshake(stream).await.unwrap();
            let connection = tokio::spawn(connection);
            let asking = (0..4).map(|_| self.ask_on(requests.clone()));
            let told = futures::future::join_all(asking).await.contains(&true);
            self.goodbyes.fetch_add(u64::from(told), Relaxed);
            drop(requests);
            // How TLS ends matters to nobody who has heard GOAWAY.
            drop(connection.await.unwrap());
        }
    }

    /// One request after the other; whether the server has said goodbye.
    async fn ask_on(&self, requests: SendRequest<Bytes>) -> bool {
        let is_goodbye = |err: &h2::Error| {
            err.is_remote() && err.is_go_away() && err.reason() == Some(h2::Reason::NO_ERROR)
        };
        while !self.ends.load(Relaxed) {
            let answer = match open(&requests).await {
                Ok(answer) => answer,
                Err(err) => {
                    assert!(is_goodbye(&err), "nobody has said goodbye: {err}");
                    return true;
                }
            };
            match whole(answer).await {
                Ok(text) => assert!(text.contains("HTTP/2.0"), "{text}"),
                Err(err) if is_goodbye(&err) => {
                    self.asked_again.fetch_add(1, Relaxed);
                    return true;
                }
                Err(err) => panic!("a request is lost: {err}"),
            }
            self.served.fetch_add(1, Relaxed);
        }
        false
    }
}

/// An error says that nothing of it was sent.
async fn open(requests: &SendRequest<Bytes>) -> Result<ResponseFuture, h2::Error> {
    let request = Request::get(format!("https://{HOST}/")).body(()).unwrap();
    let (answer, _) = requests.clone().ready().await?.send_request(request, true)?;
    Ok(answer)
}

async fn whole(answer: ResponseFuture) -> Result<String, h2::Error> {
    let (head, mut body) = answer.await?.into_parts();
    assert_eq!(head.status, 200);
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        text.extend(part?);
    }
    Ok(String::from_utf8(text).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_http_2_that_obey_goaway_lose_no_request_at_a_reload() {
    const CLIENTS: u64 = 4;
    /// The server's.
    const LAME_DUCK: Duration = Duration::from_secs(20);
    for method in METHODS {
        let https = Https::start(method);
        let tally = Arc::new(Tally::default());
        let ask = |_| {
            let (tally, client, addr) = (tally.clone(), https.client(&["h2"]), https.app.addr());
            tokio::spawn(async move { tally.keep_asking(addr, client).await })
        };
        let clients: Vec<_> = (0..CLIENTS).map(ask).collect();
        for nth in 1..=2 {
            let old: Vec<u64> = https.app.workers().iter().map(|worker| worker.id).collect();
            https.reload(&format!("reloaded {}", nth + 1));
            let reloaded = Instant::now();
            let all_new = |now: &[WorkerProcess]| now.iter().all(|worker| !old.contains(&worker.id));
            https.app.wait_for_workers(all_new).unwrap();
            eventually("all have heard goodbye", || tally.goodbyes.load(Relaxed) >= nth * CLIENTS);
            // At the begin of the drain, and not at the end of the lame duck.
            assert!(reloaded.elapsed() < LAME_DUCK / 2, "{method}: {:?}", reloaded.elapsed());
            let served = tally.served.load(Relaxed);
            eventually("they are served", || tally.served.load(Relaxed) > served + 100);
        }
        tally.ends.store(true, Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        let (served, again) = (tally.served.load(Relaxed), tally.asked_again.load(Relaxed));
        println!("{method}: {served} requests during two reloads, none lost, {again} asked again");
        assert!(https.app.stop().unwrap().success(), "{method}");
    }
}
