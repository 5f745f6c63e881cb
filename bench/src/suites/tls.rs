//! How many handshakes of TLS a server makes.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use crate::cpu;
use crate::error::Error;
use crate::ratio::Ratio;
use crate::rounds::{Entry, FAILURES, Sample};
use crate::scratch::Scratch;
use crate::subject::{Running, Subject};
use crate::suites::{Lineup, Setting, Suite};

pub(crate) const SUITE: Suite = Suite {
    name: "tls",
    about: "handshakes of TLS per second, new and resumed, and what each costs",
    explains: "2 workers, or 2 threads. 16 clients connect, make a handshake of TLS 1.3 (X25519, a P-256 certificate), ask\n\
               for a greeting by HTTP/1.1 and leave; then they come again. new: with nothing remembered. resumed: with the\n\
               session of the time before, where the server takes it; what it does not take counts as a failure.\n\
               CPU: processor time of all processes of the server for each connection.",
    examples: &[],
    own: &["tls_cluster_axum", "tls_axum"],
    fixtures: &[],
    cases: || CASES.iter().map(|(name, _)| (*name).to_owned()).collect(),
    plot: None,
    ratios: &[Ratio { cases: &["new", "resumed", "CPU"], of: &["cluster-axum"], to: "axum" }],
    line_up,
};

const CASES: &[(&str, Manner)] = &[("new", Manner::New), ("resumed", Manner::Resumed)];
const WORKERS: usize = 2;
const CLIENTS: usize = 16;
/// Warming up, then measuring.
const TIMES: [Duration; 2] = [Duration::from_millis(400), Duration::from_millis(1500)];
const TIMES_QUICK: [Duration; 2] = [Duration::from_millis(150), Duration::from_millis(400)];
const HOST: &str = "localhost";

/// How clients come.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Manner {
    New,
    Resumed,
}

fn line_up(setting: &Setting) -> Result<Lineup, Error> {
    let mut lineup = Lineup::default();
    let start = |source| Error::Start { subject: "certificate", source, said: String::new() };
    let shown = Arc::new(Certificate::make().map_err(start)?);
    let times = if setting.quick { TIMES_QUICK } else { TIMES };
    for (case, manner) in CASES {
        let wanted = |mut subject: Subject| {
            subject.told = shown.files();
            entry(subject, case, Visit { shown: shown.clone(), manner: *manner, times })
        };
        lineup.add(Ok(setting.ours("cluster-axum", "tls_cluster_axum")?), wanted);
        lineup.add(Ok(setting.peer("axum", "tls_axum")?), wanted);
    }
    Ok(lineup)
}

fn entry(subject: Subject, case: &'static str, visit: Visit) -> Entry {
    let name = subject.name;
    let measure = move || {
        let running = subject.start(WORKERS)?;
        let found = visit.measure(&running).map_err(|source| Error::Load {
            subject: name,
            case,
            source,
            said: running.last_lines(),
        })?;
        running.stop()?;
        Ok(found.samples(case, &format!("CPU, {case}"), "handshakes/s"))
    };
    Entry { subject: name, group: case, measure: Box::new(measure) }
}

/// What servers show, in files.
pub(super) struct Certificate {
    folder: Scratch,
    der: CertificateDer<'static>,
}

impl Certificate {
    pub(super) fn make() -> io::Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).map_err(io::Error::other)?;
        let folder = Scratch::new()?;
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem())?;
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem())?;
        Ok(Self { folder, der: made.cert.der().clone() })
    }

    /// Their names, as servers are told them.
    pub(super) fn files(&self) -> Vec<String> {
        ["cert.pem", "key.pem"].map(|name| self.folder.path().join(name).display().to_string()).to_vec()
    }

    /// A client that knows it.
    fn client(&self, manner: Manner) -> io::Result<Arc<ClientConfig>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).map_err(io::Error::other)?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        if manner == Manner::New {
            config.resumption = Resumption::disabled();
        }
        Ok(Arc::new(config))
    }
}

/// What clients do, and for how long.
pub(super) struct Visit {
    shown: Arc<Certificate>,
    manner: Manner,
    times: [Duration; 2],
}

/// What has come of a client's connections.
#[derive(Debug, Default)]
struct Tally {
    served: usize,
    failed: usize,
}

/// What a server has done for clients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Found {
    per_second: f64,
    /// Processor time of the server for each, in microseconds.
    cost: f64,
    failed: usize,
}

impl Found {
    /// As rows of these names.
    pub(super) fn samples(self, rate: &str, cost: &str, unit: &'static str) -> Vec<Sample> {
        vec![
            Sample { case: rate.to_owned(), unit, value: self.per_second },
            Sample { case: cost.to_owned(), unit: "us", value: self.cost },
            Sample { case: format!("{rate}, failed"), unit: FAILURES, value: self.failed as f64 },
        ]
    }
}

impl Visit {
    /// Clients that remember nothing.
    pub(super) fn of_strangers(shown: Arc<Certificate>, times: [Duration; 2]) -> Self {
        Self { shown, manner: Manner::New, times }
    }

    pub(super) fn measure(&self, running: &Running) -> io::Result<Found> {
        let [warm_up, length] = self.times;
        // Each has a memory of its own: what one has been given no other uses.
        let clients = (0..CLIENTS).map(|_| self.shown.client(self.manner)).collect::<io::Result<Vec<_>>>()?;
        let addr = running.addr();
        let (counts, ends) = (&AtomicBool::new(false), &AtomicBool::new(false));
        let processes = running.processes();
        let (tally, took, used) = thread::scope(|scope| {
            let come = |client| scope.spawn(move || self.come(addr, &client, counts, ends));
            let visitors: Vec<_> = clients.into_iter().map(come).collect();
            thread::sleep(warm_up);
            let (start, before) = (Instant::now(), cpu::used_by(&processes));
            counts.store(true, Ordering::Relaxed);
            thread::sleep(length);
            ends.store(true, Ordering::Relaxed);
            let (took, after) = (start.elapsed(), cpu::used_by(&processes));
            let mut all = Tally::default();
            for visitor in visitors {
                let one = visitor.join().expect("a client does not panic");
                all = Tally { served: all.served + one.served, failed: all.failed + one.failed };
            }
            (all, took, before.and_then(|before| Ok(after?.saturating_sub(before))))
        });
        let per_second = tally.served as f64 / took.as_secs_f64();
        let cost = used?.as_secs_f64() / took.as_secs_f64() / per_second.max(1.0) * 1e6;
        Ok(Found { per_second, cost, failed: tally.failed })
    }

    /// One client, again and again.
    fn come(
        &self,
        addr: SocketAddr,
        client: &Arc<ClientConfig>,
        counts: &AtomicBool,
        ends: &AtomicBool,
    ) -> Tally {
        let mut tally = Tally::default();
        while !ends.load(Ordering::Relaxed) {
            let counted = counts.load(Ordering::Relaxed);
            let came = greet(addr, client);
            // One that was under way when the time was over belongs to no time.
            if !counted || ends.load(Ordering::Relaxed) {
                continue;
            }
            match came {
                Ok(kind) if (kind == HandshakeKind::Resumed) == (self.manner == Manner::Resumed) => {
                    tally.served += 1;
                }
                Ok(_) | Err(_) => tally.failed += 1,
            }
        }
        tally
    }
}

/// One connection, from its beginning to its end.
fn greet(addr: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<HandshakeKind> {
    let name = ServerName::try_from(HOST).expect("a name");
    let session = ClientConnection::new(client.clone(), name).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(addr)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut stream = StreamOwned::new(session, tcp);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.conn.handshake_kind().ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
