//! HTTPS by cluster-axum: what is served, whose sessions are resumed, and what becomes of certificates at a reload.
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
use std::io::{self, Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::http::{Request, Version};
use cluster_axum::rustls::ClientConfig;
use cluster_axum::rustls::client::Resumption;
use cluster_axum::rustls::pki_types::ServerName;
use nix::sys::signal::Signal;
use tokio_rustls::TlsConnector;

use cluster_tests::tls::{self, HOST, Pair, VERSIONS, word};
use cluster_tests::{Folder, METHODS, Process, connect, eventually, fails, signal, subject};

/// The application, and its certificate.
struct Site {
    app: Process,
    pair: Pair,
    folder: Folder,
}

fn command(method: &str, pair: &Pair, knobs: &[&str]) -> Command {
    let files = [pair.cert.to_str().unwrap(), pair.key.to_str().unwrap()];
    subject(env!("CARGO_BIN_EXE_secure"), method, &[&files, knobs].concat())
}

impl Site {
    fn start(method: &str, knobs: &[&str]) -> Self {
        let folder = Folder::new("tls");
        let pair = Pair::make(&folder, "site");
        let mut command = command(method, &pair, knobs);
        command.stderr(fs::File::create(folder.path("log")).unwrap());
        let app = Process::start(command).unwrap();
        Self { app, pair, folder }
    }

    /// Like most clients.
    fn client(&self) -> Arc<ClientConfig> {
        self.client_of(&VERSIONS)
    }

    fn client_of(
        &self,
        versions: &[&'static cluster_axum::rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        Arc::new(tls::client(&[&self.pair], versions, &[]))
    }

    fn reload(&self, outcome: &str) {
        signal(self.app.pid(), Signal::SIGHUP).unwrap();
        self.app.wait_for_line(outcome, 0).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }

    fn stop(self) {
        assert!(self.app.stop().unwrap().success());
    }
}

/// Asks by HTTP/2, while something is done after the request is under way; the answer's version and body, and how the
/// connection has ended.
async fn get_by_http2(
    site: &Site,
    path: &str,
    meanwhile: impl FnOnce(),
) -> (Version, String, Result<(), h2::Error>) {
    let config = tls::client(&[&site.pair], &VERSIONS, &["h2"]);
    let tcp = tokio::net::TcpStream::connect(site.app.addr()).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("https://{HOST}{path}")).body(()).unwrap();
    let (response, _) = requests.ready().await.unwrap().send_request(request, true).unwrap();
    meanwhile();
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        text.extend(part.unwrap());
    }
    drop(body);
    (head.version, String::from_utf8(text).unwrap(), connection.await.unwrap())
}

#[tokio::test]
async fn http1_and_http2_are_served_and_the_application_knows_what_was_agreed_on() {
    for method in METHODS {
        let site = Site::start(method, &[]);
        let http1 = Arc::new(tls::client(&[&site.pair], &VERSIONS, &["http/1.1"]));
        let answer = tls::get(site.app.addr(), &http1, "/").unwrap();
        assert_eq!((answer.word("alpn"), answer.word("name")), ("http/1.1", HOST));
        assert_eq!((answer.word("peer"), answer.word("resumed")), (&*answer.from.to_string(), "false"));
        // Also one that does not say what it speaks.
        assert_eq!(tls::get(site.app.addr(), &site.client(), "/").unwrap().word("alpn"), "none");
        let (version, text, end) = get_by_http2(&site, "/", || ()).await;
        end.unwrap();
        assert_eq!(version, Version::HTTP_2);
        assert!(text.contains("alpn h2"), "{text}");
        site.stop();
    }
}

/// Asks until another worker than this one has answered; and who that was. All sessions are resumed.
fn resume_elsewhere(site: &Site, client: &Arc<ClientConfig>, first: &str, why: &str) -> String {
    let mut found = None;
    eventually("another worker answers", || {
        let answer = tls::get(site.app.addr(), client, "/").unwrap();
        assert!(answer.resumed, "{why}: {}", answer.text);
        assert_eq!(answer.word("resumed"), "true", "{why}");
        found = Some(answer.word("worker").to_owned()).filter(|pid| pid != first);
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn a_session_is_resumed_by_whichever_worker_and_by_its_successors() {
    for method in METHODS {
        let site = Site::start(method, &[]);
        for version in VERSIONS {
            let client = site.client_of(&[version]);
            let first = tls::get(site.app.addr(), &client, "/").unwrap();
            assert!(!first.resumed);
            let other = resume_elsewhere(&site, &client, first.word("worker"), method);
            resume_elsewhere(&site, &client, &other, method);
        }
        // The next generation, with the same certificate, knows them too.
        let client = site.client();
        let old = tls::get(site.app.addr(), &client, "/").unwrap();
        assert_eq!(old.word("generation"), "1");
        site.reload("reloaded");
        eventually("the next generation answers", || {
            let answer = tls::get(site.app.addr(), &client, "/").unwrap();
            assert!(answer.resumed, "{method}: {}", answer.text);
            answer.word("generation") == "2"
        });
        site.stop();
    }
}

#[test]
fn all_workers_seal_tickets_with_one_key_which_is_another_after_each_rotation() {
    for method in METHODS {
        let site = Site::start(method, &["rotation=1000"]);
        let client = site.client_of(&[VERSIONS[0]]);
        // Keys in their order, and who has used them.
        let mut keys: Vec<(Vec<u8>, HashSet<String>)> = Vec::new();
        let began = Instant::now();
        eventually("three keys were used by both workers", || {
            let (key, answer) = tls::name_of_key(site.app.addr(), &client).unwrap();
            let worker = word(&answer, "worker").to_owned();
            let known = keys.iter().position(|(known, _)| *known == key);
            // One that has been followed by another never comes back.
            assert!(known.is_none_or(|at| at + 1 == keys.len()), "{method}");
            match known {
                Some(at) => drop(keys[at].1.insert(worker)),
                None => keys.push((key, HashSet::from([worker]))),
            }
            keys.iter().filter(|(_, users)| users.len() == 2).count() >= 3
        });
        // The first began before, and the last has not ended.
        assert!(began.elapsed() >= Duration::from_millis(1000), "{method}: {:?}", began.elapsed());
        assert!(keys.len() <= 2 + began.elapsed().as_secs() as usize, "{method}: {}", keys.len());
        site.stop();
    }
}

#[test]
fn a_session_of_one_listener_opens_no_other_that_asks_for_certificates() {
    for version in VERSIONS {
        let folder = Folder::new("staff");
        let staff = Pair::make(&folder, "staff");
        let site = Site::start("fork", &[&format!("staff={}", staff.cert.display())]);
        let [open, guarded] = site.app.addrs()[..] else { panic!("two listeners") };
        // Sessions are remembered by the server's name, which both listeners have.
        let stranger = site.client_of(&[version]);
        assert!(!tls::get(open, &stranger, "/").unwrap().resumed);
        assert!(tls::get(open, &stranger, "/").unwrap().resumed);
        tls::get(guarded, &stranger, "/").expect_err("nobody gets in by another door's session");
        let known = Arc::new(tls::client_with(&staff, &[&site.pair]));
        let answer = tls::get(guarded, &known, "/").unwrap();
        assert_eq!((answer.resumed, answer.word("certificates")), (false, "1"));
        // Who is known is known wherever it comes back.
        let mut seen = HashSet::new();
        eventually("both workers answer", || {
            let answer = tls::get(guarded, &known, "/").unwrap();
            assert!(answer.resumed, "{}", answer.text);
            assert_eq!(answer.word("certificates"), "1");
            seen.insert(answer.word("worker").to_owned());
            seen.len() == 2
        });
        site.stop();
    }
}

#[test]
fn who_does_not_go_on_with_a_handshake_is_closed_and_holds_up_nobody() {
    const DEADLINE: Duration = Duration::from_secs(2);
    let site = Site::start("fork", &["handshake=2000"]);
    let client = site.client();
    let began = Instant::now();
    let mut slow: Vec<_> = (0..20).map(|_| connect(site.app.addr()).unwrap()).collect();
    // Half of them begin: the first bytes of a greeting.
    slow.iter_mut().step_by(2).for_each(|stream| stream.write_all(&[22, 3, 1, 2, 0, 1]).unwrap());
    let mut served = 0;
    while began.elapsed() < DEADLINE / 2 {
        tls::get(site.app.addr(), &client, "/").unwrap();
        served += 1;
    }
    assert!(served > 0, "others are served meanwhile");
    for stream in &mut slow {
        // The end, or a reset where something that it sent was never read.
        let read = stream.read(&mut [0; 64]);
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
    assert!(began.elapsed() >= DEADLINE, "they had {:?}", began.elapsed());
    assert!(began.elapsed() < 10 * DEADLINE, "they had {:?}", began.elapsed());
    tls::get(site.app.addr(), &client, "/").unwrap();
    site.stop();
}

#[test]
fn who_speaks_no_tls_is_refused_and_others_are_served() {
    let site = Site::start("fork", &["max=1"]);
    for _ in 0..10 {
        let mut stream = connect(site.app.addr()).unwrap();
        // In one piece: the first bytes are enough to be closed for.
        stream.write_all(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        // It is told by TLS's own alert, or just closed; never by HTTP.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"));
    }
    // A connection that has ended counts no more, whichever way: each worker has room for one.
    tls::get(site.app.addr(), &site.client(), "/").unwrap();
    site.stop();
}

#[test]
fn a_drain_finishes_what_is_open_and_does_not_wait_long_for_a_handshake() {
    let site = Site::start("fork", &["handshake=60000"]);
    let client = site.client();
    let silent = connect(site.app.addr()).unwrap();
    let asked = tls::ask(site.app.addr(), &client, "/slow").unwrap();
    // Whoever has these two has them in hand when both have answered something else.
    let mut seen = HashSet::new();
    eventually("both workers answer", || {
        seen.insert(tls::get(site.app.addr(), &client, "/").unwrap().word("worker").to_owned());
        seen.len() == 2
    });
    let began = Instant::now();
    signal(site.app.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(tls::finish(asked).unwrap().text, "late");
    let ended = site.app.wait().unwrap();
    assert!(ended.success());
    // The lame duck, 5 s, and time for a busy machine; the handshake alone would have taken a minute.
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn a_handshake_that_ends_after_the_lame_duck_is_followed_by_an_answer() {
    // The client hears last how its handshake has ended, then there, and asks after that.
    let folder = Folder::new("late");
    let pair = Pair::make(&folder, "site");
    let mut command = command("fork", &pair, &[]);
    command.env("CLUSTER_WORKERS", "1");
    let app = Process::start(command).unwrap();
    let client = Arc::new(tls::client(&[&pair], &[VERSIONS[0]], &[]));
    let late = connect(app.addr()).unwrap();
    let mut idle = tls::keep(app.addr(), &client).unwrap();
    signal(app.pid(), Signal::SIGTERM).unwrap();
    // Who has nothing to ask is closed when the lame duck is over.
    assert_eq!(idle.read(&mut [0; 64]).unwrap(), 0);
    let mut late = tls::on(late, &client).unwrap();
    while late.conn.is_handshaking() {
        late.conn.complete_io(&mut late.sock).unwrap();
    }
    // Later than any turn of the worker's loop.
    thread::sleep(Duration::from_millis(100));
    tls::say(&mut late, "/").unwrap();
    assert_eq!(tls::finish(late).unwrap().word("generation"), "1");
    assert!(app.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_http2_is_answered_while_the_cluster_stops() {
    for method in METHODS {
        let site = Site::start(method, &[]);
        let stop = || {
            eventually("the request has come", || site.log().contains("slow begins"));
            signal(site.app.pid(), Signal::SIGTERM).unwrap();
        };
        let (version, text, end) = get_by_http2(&site, "/slow", stop).await;
        assert_eq!((version, &*text), (Version::HTTP_2, "late"));
        // Who stops may be gone before this side has said goodbye.
        let is_gone = |err: &io::Error| matches!(err.kind(), BrokenPipe | ConnectionReset);
        assert!(end.as_ref().err().is_none_or(|err| err.get_io().is_some_and(is_gone)), "{method}: {end:?}");
        assert!(site.app.wait().unwrap().success(), "{method}");
    }
}

#[test]
fn a_reload_shows_the_new_certificate_and_fails_no_request() {
    for method in METHODS {
        let site = Site::start(method, &[]);
        let new = Pair::make(&site.folder, "new");
        // They trust both, and begin anew each time.
        let mut client = tls::client(&[&site.pair, &new], &VERSIONS, &[]);
        client.resumption = Resumption::disabled();
        let client = Arc::new(client);
        let (ends, addr) = (Arc::new(AtomicBool::new(false)), site.app.addr());
        let come = || {
            let (ends, client) = (ends.clone(), client.clone());
            thread::spawn(move || {
                let mut served = 0;
                while !ends.load(Ordering::Relaxed) {
                    tls::get(addr, &client, "/").unwrap();
                    served += 1;
                }
                served
            })
        };
        let clients: Vec<_> = (0..3).map(|_| come()).collect();
        let remembers = Arc::new(tls::client(&[&site.pair, &new], &VERSIONS, &[]));
        assert!(tls::get(addr, &remembers, "/").unwrap().is_of(&site.pair), "{method}");
        let is_new = new.twin();
        new.replace(&site.pair);
        assert!(tls::get(addr, &client, "/").unwrap().is_of(&site.pair), "{method}: nobody has reloaded");
        site.reload("reloaded");
        eventually("the new certificate is shown", || {
            (0..20).all(|_| tls::get(addr, &client, "/").unwrap().is_of(&is_new))
        });
        // A session that has begun with the other certificate begins anew.
        let again = tls::get(addr, &remembers, "/").unwrap();
        assert!(!again.resumed && again.is_of(&is_new), "{method}");
        ends.store(true, Ordering::Relaxed);
        assert!(clients.into_iter().all(|client| client.join().unwrap() > 0), "{method}");
        site.stop();
    }
}

#[test]
fn a_reload_with_a_broken_certificate_changes_nothing_and_says_why() {
    for method in METHODS {
        let site = Site::start(method, &[]);
        let before: Vec<u32> = site.app.workers().iter().map(|worker| worker.pid).collect();
        // The key of another certificate.
        let other = Pair::make(&site.folder, "other");
        fs::copy(&other.key, &site.pair.key).unwrap();
        site.reload("reload-failed");
        eventually("it is logged", || site.log().contains("reload failed"));
        let log = site.log();
        let line = log.lines().find(|line| line.contains("reload failed")).unwrap_or_default();
        for word in ["site-key.pem", "not that of the first certificate"] {
            assert!(line.contains(word), "{method}: `{line}` does not say `{word}`");
        }
        let after: Vec<u32> = site.app.workers().iter().map(|worker| worker.pid).collect();
        assert_eq!(after, before, "{method}");
        let answer = tls::get(site.app.addr(), &site.client(), "/").unwrap();
        assert!(answer.is_of(&site.pair) && answer.word("generation") == "1", "{method}");
        site.stop();
    }
}

#[test]
fn a_start_without_a_certificate_fails_and_names_the_file() {
    for method in METHODS {
        let folder = Folder::new("missing");
        let mut pair = Pair::make(&folder, "site");
        pair.cert = folder.path("nowhere.pem");
        fails(command(method, &pair, &[]), 1, &["nowhere.pem", "No such file"]);
    }
}
