//! HTTPS, by both adapters, on sockets that somebody else has opened: `main`, or a service manager.
use std::collections::HashSet;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use cluster_axum::rustls::client::Resumption;
use cluster_axum::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, StreamOwned, SupportedProtocolVersion,
};
use nix::sys::signal::Signal;

use cluster_tests::lender::{TWO_WEB, WEB, lend, lender, start_with};
use cluster_tests::tls::{self, Pair, VERSIONS, word};
use cluster_tests::{Folder, METHODS, Process, connect, eventually, fails, signal};

const DOORS: &str = env!("CARGO_BIN_EXE_doors");

/// Whose certificate it is that a framework shows: files that it reads itself, or a configuration.
const WAYS: [(&str, &str); 3] = [("axum", "files"), ("axum", "rustls"), ("actix", "rustls")];

/// A framework, who reads its certificate, a way to start it, and the certificate.
struct Case {
    framework: &'static str,
    how: &'static str,
    method: &'static str,
    folder: Folder,
    pair: Pair,
}

impl Case {
    fn new((framework, how): (&'static str, &'static str), method: &'static str) -> Self {
        let folder = Folder::new("doors");
        let pair = Pair::make(&folder, "site");
        Self { framework, how, method, folder, pair }
    }

    fn all() -> impl Iterator<Item = Self> {
        WAYS.into_iter().flat_map(|way| METHODS.map(|method| Self::new(way, method)))
    }

    /// The program, with these doors.
    fn command(&self, doors: &[&str], (sockets, variables): (Vec<OwnedFd>, &str)) -> Command {
        let files = [self.pair.cert.to_str().unwrap(), self.pair.key.to_str().unwrap()];
        let arguments = [&[self.framework, self.method], &files[..], doors].concat();
        start_with(sockets, variables, DOORS, &arguments)
    }

    /// Starts it with one door.
    fn start(&self, place: &str, sockets: (Vec<OwnedFd>, &str)) -> Process {
        Process::start(self.command(&[&format!("{}@{place}", self.how)], sockets)).unwrap()
    }

    /// A client that remembers sessions.
    fn client(&self) -> Arc<ClientConfig> {
        self.client_of(&VERSIONS)
    }

    fn client_of(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        Arc::new(tls::client(&[&self.pair], versions, &[]))
    }

    /// One that has been there once comes back until both workers have answered: all of them know its session.
    fn comes_back(&self, ask: impl Fn() -> io::Result<Answer>) {
        comes_back(ask, &self.pair, &self.to_string());
    }

    fn both_resume(&self, ask: impl Fn() -> io::Result<Answer>) {
        both_resume(ask, &self.pair, &self.to_string());
    }

    fn stop(&self, app: Process) {
        assert!(app.stop().unwrap().success(), "{self}");
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { framework, how, method, .. } = self;
        write!(f, "{framework}, {how}, {method}")
    }
}

/// No sockets.
fn nothing() -> (Vec<OwnedFd>, &'static str) {
    (Vec::new(), "")
}

/// One, which is named `web`.
fn web(listener: &TcpListener) -> (Vec<OwnedFd>, &'static str) {
    (vec![lend(listener)], WEB)
}

/// What a client hears, and in which session.
struct Answer {
    text: String,
    session: ClientConnection,
}

impl Answer {
    fn worker(&self) -> &str {
        word(&self.text, "worker")
    }

    /// Whether the session is one from before, as the client sees it.
    fn resumed(&self) -> bool {
        self.session.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

fn get<S: Read + Write>(io: S, client: &Arc<ClientConfig>) -> io::Result<Answer> {
    ask(tls::on(io, client)?)
}

fn ask<S: Read + Write>(mut stream: StreamOwned<ClientConnection, S>) -> io::Result<Answer> {
    tls::say(&mut stream, "/")?;
    let mut answer = Vec::new();
    // actix-http closes without a word of TLS.
    let end = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => {
            Ok(Answer { text: body.to_owned(), session: stream.conn })
        }
        _ => Err(end.err().unwrap_or_else(|| io::Error::other(answer))),
    }
}

fn get_at(addr: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<Answer> {
    get(connect(addr)?, client)
}

fn get_on(path: &Path, client: &Arc<ClientConfig>) -> io::Result<Answer> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    get(stream, client)
}

fn comes_back(ask: impl Fn() -> io::Result<Answer>, pair: &Pair, context: &str) {
    let mut seen = HashSet::new();
    eventually("both workers answer", || {
        let answer = ask().unwrap();
        assert!(answer.resumed(), "{context}: {}", answer.text);
        assert!(pair.is_shown_in(&answer.session), "{context}");
        seen.insert(answer.worker().to_owned());
        seen.len() == 2
    });
}

fn both_resume(ask: impl Fn() -> io::Result<Answer>, pair: &Pair, context: &str) {
    let first = ask().unwrap();
    assert!(!first.resumed() && pair.is_shown_in(&first.session), "{context}");
    comes_back(ask, pair, context);
}

#[test]
fn a_socket_that_was_passed_speaks_tls_and_whichever_worker_resumes_a_session() {
    for case in Case::all() {
        let (listener, addr) = lender();
        let app = case.start("fd:web", web(&listener));
        assert_eq!(app.addr(), addr, "{case}");
        for version in VERSIONS {
            let client = case.client_of(&[version]);
            case.both_resume(|| get_at(addr, &client));
        }
        case.stop(app);
    }
}

#[test]
fn a_listener_of_bind_tcp_speaks_tls_and_whichever_worker_resumes_a_session() {
    for case in Case::all() {
        let app = case.start("made", nothing());
        for version in VERSIONS {
            let client = case.client_of(&[version]);
            case.both_resume(|| get_at(app.addr(), &client));
        }
        case.stop(app);
    }
}

#[test]
fn where_nothing_was_passed_the_address_that_is_bound_speaks_tls_too() {
    for case in Case::all() {
        let (listener, addr) = lender();
        for (sockets, is_passed) in [(web(&listener), true), (nothing(), false)] {
            let app = case.start("fd:web=127.0.0.1:0", sockets);
            assert_eq!(app.addr() == addr, is_passed, "{case}");
            let client = case.client();
            case.both_resume(|| get_at(app.addr(), &client));
            case.stop(app);
        }
    }
}

#[test]
fn a_handshake_that_begins_between_two_runs_is_finished_by_the_next() {
    for case in Case::all() {
        let (listener, addr) = lender();
        let client = case.client();
        let before = case.start("fd:web", web(&listener));
        assert!(!get_at(addr, &client).unwrap().resumed(), "{case}");
        case.stop(before);
        let greet = |_| {
            let mut stream = tls::on(connect(addr).unwrap(), &client).unwrap();
            stream.conn.write_tls(&mut stream.sock).unwrap();
            stream
        };
        let waiting: Vec<_> = (0..10).map(greet).collect();
        let next = case.start("fd:web", web(&listener));
        for stream in waiting {
            let answer = ask(stream).unwrap();
            // Keys of tickets end with the primary: no harm is done.
            assert!(!answer.resumed() && case.pair.is_shown_in(&answer.session), "{case}");
        }
        case.stop(next);
    }
}

/// Clients that ask without a pause, and trust both certificates.
struct Crowd {
    ends: Arc<AtomicBool>,
    clients: Vec<thread::JoinHandle<usize>>,
}

impl Crowd {
    fn come(addr: SocketAddr, client: &Arc<ClientConfig>) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let come = |_| {
            let (ends, client) = (ends.clone(), client.clone());
            thread::spawn(move || {
                let mut served = 0;
                while !ends.load(Relaxed) {
                    get_at(addr, &client).unwrap();
                    served += 1;
                }
                served
            })
        };
        Self { clients: (0..3).map(come).collect(), ends }
    }

    /// All were served, always.
    fn leave(self, context: &str) {
        self.ends.store(true, Relaxed);
        assert!(self.clients.into_iter().all(|client| client.join().unwrap() > 0), "{context}");
    }
}

fn reloads_with_a_renewed_certificate(way: (&'static str, &'static str), method: &'static str, place: &str) {
    let case = Case::new(way, method);
    let ((listener, _), new) = (lender(), Pair::make(&case.folder, "new"));
    let app = case.start(place, web(&listener));
    let addr = app.addr();
    // They begin anew each time.
    let mut client = tls::client(&[&case.pair, &new], &VERSIONS, &[]);
    client.resumption = Resumption::disabled();
    let client = Arc::new(client);
    let crowd = Crowd::come(addr, &client);
    let remembers = Arc::new(tls::client(&[&case.pair, &new], &VERSIONS, &[]));
    case.both_resume(|| get_at(addr, &remembers));
    let is_new = new.twin();
    new.replace(&case.pair);
    let shows = |pair: &Pair| pair.is_shown_in(&get_at(addr, &client).unwrap().session);
    assert!(shows(&case.pair), "{case}: nobody has reloaded");
    signal(app.pid(), Signal::SIGHUP).unwrap();
    app.wait_for_line("reloaded", 0).unwrap();
    eventually("the new certificate is shown", || (0..20).all(|_| shows(&is_new)));
    // A session that has begun with the other certificate begins anew, and is resumed by all who show this one.
    both_resume(|| get_at(addr, &remembers), &is_new, &case.to_string());
    assert_eq!(word(&get_at(addr, &remembers).unwrap().text, "generation"), "2", "{case}");
    crowd.leave(&case.to_string());
    case.stop(app);
}

#[test]
fn a_reload_shows_a_renewed_certificate_on_a_socket_that_was_passed_and_fails_no_request() {
    for method in METHODS {
        reloads_with_a_renewed_certificate(("axum", "files"), method, "fd:web");
        reloads_with_a_renewed_certificate(("actix", "rustls"), method, "fd:web");
    }
}

#[test]
fn a_reload_shows_a_renewed_certificate_on_a_listener_of_bind_tcp_and_fails_no_request() {
    for method in METHODS {
        reloads_with_a_renewed_certificate(("axum", "files"), method, "made");
        reloads_with_a_renewed_certificate(("actix", "rustls"), method, "made");
    }
}

/// A unix socket, as the service manager holds it.
fn unix(case: &Case, name: &str) -> (OwnedFd, PathBuf) {
    let path = case.folder.path(name);
    (UnixListener::bind(&path).unwrap().into(), path)
}

#[test]
fn a_unix_socket_that_was_passed_speaks_tls_and_nothing_else() {
    for case in Case::all() {
        let ((tcp, addr), (unix, path)) = (lender(), unix(&case, "web.sock"));
        // Of one name both are meant.
        let app = case.start("fd:web", (vec![lend(&tcp), unix], TWO_WEB));
        let client = case.client();
        case.both_resume(|| get_on(&path, &client));
        // It is the same listener, on the same terms.
        case.comes_back(|| get_at(addr, &client));
        let mut plain = UnixStream::connect(&path).unwrap();
        // In one piece: the first bytes are enough to be closed for.
        plain.write_all(format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", tls::HOST).as_bytes()).unwrap();
        let mut answer = Vec::new();
        // It is told by TLS's own alert, or just closed.
        let _ = plain.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{case}");
        case.stop(app);
    }
}

#[test]
fn a_session_of_one_unix_socket_opens_no_other_that_asks_for_certificates() {
    for (framework, version) in [("axum", 0), ("axum", 1), ("actix", 0), ("actix", 1)] {
        let case = Case::new((framework, "rustls"), "fork");
        let ((open, open_path), (guarded, guarded_path)) = (unix(&case, "open"), unix(&case, "guarded"));
        let names = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=open:guarded";
        let doors = ["rustls@fd:open", "staff@fd:guarded"];
        let app = Process::start(case.command(&doors, (vec![open, guarded], names))).unwrap();
        // Sessions are remembered by the server's name, which both have.
        let stranger = case.client_of(&[VERSIONS[version]]);
        case.both_resume(|| get_on(&open_path, &stranger));
        assert!(get_on(&guarded_path, &stranger).is_err(), "{case}: by another door's session");
        let known = Arc::new(tls::client_with(&case.pair, &[&case.pair]));
        let answer = get_on(&guarded_path, &known).unwrap();
        assert_eq!((answer.resumed(), word(&answer.text, "certificates")), (false, "1"), "{case}");
        case.comes_back(|| get_on(&guarded_path, &known));
        case.stop(app);
    }
}

#[test]
fn invariant_8_a_listener_that_main_bound_itself_and_a_file_that_is_missing_are_named() {
    for mut case in Case::all() {
        let ((listener, _), how) = (lender(), case.how);
        let words = ["the listener on 127.0.0.1:", "was bound in main", "bind_tcp"];
        fails(case.command(&[&format!("{how}@own")], nothing()), 1, &words);
        fails(case.command(&[&format!("{how}@fd:web")], nothing()), 1, &["LISTEN_FDS is not set"]);
        if how == "files" {
            case.pair.cert = case.folder.path("nowhere.pem");
            for door in ["files@fd:web", "files@fd:web=127.0.0.1:0", "files@made"] {
                let words = ["nowhere.pem", "No such file"];
                fails(case.command(&[door], web(&listener)), 1, &words);
            }
        }
    }
}

#[cfg(feature = "openssl")]
#[test]
fn openssl_speaks_on_sockets_that_others_have_opened_and_forked_workers_resume_sessions() {
    for method in METHODS {
        let case = Case::new(("actix", "openssl"), method);
        let ((tcp, addr), (unix, path)) = (lender(), unix(&case, "web.sock"));
        let doors = ["openssl@fd:web", "openssl@made", "openssl@fd:admin=127.0.0.1:0"];
        let app = Process::start(case.command(&doors, (vec![lend(&tcp), unix], TWO_WEB))).unwrap();
        let addrs = app.addrs();
        assert!(addrs.len() == 3 && addrs.contains(&addr), "{case}: {addrs:?}");
        for addr in addrs {
            assert!(case.pair.is_shown_in(&get_at(addr, &case.client()).unwrap().session), "{case}");
        }
        assert!(case.pair.is_shown_in(&get_on(&path, &case.client()).unwrap().session), "{case}");
        if method == "fork" {
            let client = case.client();
            case.both_resume(|| get_on(&path, &client));
            case.comes_back(|| get_at(addr, &client));
        }
        case.stop(app);
    }
}
