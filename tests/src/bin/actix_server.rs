//! What actix-web's `HttpServer` can do: `actix_server fork|await ADDR KIND [FILE..]`, of the kinds below.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, thread};

use actix_web::{App, HttpRequest, HttpResponse, web};
use cluster_actix::{HttpServer, Server, worker};
use futures::future::try_join;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr, kind, files @ ..] = &arguments[..] else {
        eprintln!("usage: actix_server fork|await ADDR KIND [FILE..]");
        return ExitCode::from(2);
    };
    let ended = if method == "fork" {
        servers(addr, kind, files).into_iter().reduce(Server::and).expect("one at least").join()
    } else {
        actix_web::rt::System::new().block_on(async {
            let mut servers = servers(addr, kind, files).into_iter();
            match (servers.next().expect("one at least"), servers.next()) {
                // The second is polled first: its place is what counts.
                (one, Some(two)) => try_join(two, one).await.map(drop),
                (one, None) => one.await,
            }
        })
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn servers(addr: &str, kind: &str, files: &[String]) -> Vec<Server> {
    match kind {
        // Two servers, of which the second has more workers.
        "two" => vec![named("shop", 1, addr), named("admin", 2, addr)],
        // One worker with three threads, each of which says its name.
        "threads" => vec![threads(addr)],
        // A server that stops when the first file is there; the second says `signals` where it hears them.
        "shutdown" => vec![shutdown(addr, files)],
        // `/pause` pauses this worker for as long as the file is not there.
        "pause" => vec![pausing(addr, &files[0])],
        // HTTPS with a certificate and its key; and so many handshakes at a time, if it is said.
        "tls" => vec![tls(addr, &files[0], &files[1], files.get(2))],
        other => panic!("no such kind: {other}"),
    }
}

fn named(name: &'static str, workers: usize, addr: &str) -> Server {
    let who = move || async move { format!("{name} {}", worker().slot()) };
    let server = HttpServer::new(move || App::new().route("/", web::get().to(who))).workers(workers);
    server.bind(addr).expect("a free port").run()
}

fn threads(addr: &str) -> Server {
    let name = async || {
        // So that several connections are open at a time.
        tokio::time::sleep(Duration::from_millis(100)).await;
        format!("{:?} {:?}", thread::current().id(), web::block(|| 7).await.ok())
    };
    HttpServer::new(move || App::new().route("/", web::get().to(name)))
        .workers(1)
        .threads_per_worker(3)
        .worker_max_blocking_threads(4)
        .bind(addr)
        .expect("a free port")
        .run()
}

async fn until_there(file: PathBuf) {
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn shutdown(addr: &str, files: &[String]) -> Server {
    let server = HttpServer::new(|| App::new().route("/", web::get().to(async || "hello"))).workers(1);
    let server = server.shutdown_signal(until_there(PathBuf::from(&files[0])));
    let server = if files.get(1).is_some() { server } else { server.disable_signals() };
    server.system_exit().bind(addr).expect("a free port").run()
}

fn pausing(addr: &str, file: &str) -> Server {
    static SERVER: std::sync::OnceLock<cluster_actix::ServerHandle> = std::sync::OnceLock::new();
    let file = PathBuf::from(file);
    let app = move || {
        let file = file.clone();
        let pause = move || {
            let file = file.clone();
            async move {
                let handle = SERVER.get().expect("main has set it");
                handle.pause().await;
                actix_web::rt::spawn(async move {
                    until_there(file).await;
                    handle.resume().await;
                });
                "paused"
            }
        };
        App::new().route("/", web::get().to(async || "hello")).route("/pause", web::get().to(pause))
    };
    let server = HttpServer::new(app).workers(1).bind(addr).expect("a free port").run();
    SERVER.set(server.handle()).expect("there is one server");
    server
}

struct Arrived(&'static str);

fn tls(addr: &str, cert: &str, key: &str, handshakes: Option<&String>) -> Server {
    type Secure = actix_tls::accept::rustls_0_23::TlsStream<actix_web::rt::net::TcpStream>;
    use rustls::pki_types::pem::PemObject;
    let (cert, key) = (fs::read(cert).expect("a file"), fs::read(key).expect("a file"));
    let certs =
        rustls::pki_types::CertificateDer::pem_slice_iter(&cert).map(|cert| cert.expect("a certificate"));
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&key).expect("a key");
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certs.collect(), key)
        .expect("they belong together");
    let who = async |request: HttpRequest| {
        let how = request.conn_data::<Arrived>().map_or("unknown", |arrived| arrived.0);
        let secure = request.app_config().secure();
        let version = request.version();
        HttpResponse::Ok().body(format!("{} {version:?} {how} {secure}", worker().slot()))
    };
    let server = HttpServer::new(move || App::new().route("/", web::get().to(who))).workers(2);
    let server = match handshakes {
        Some(most) => server.max_connection_rate(most.parse().expect("a number")),
        None => server,
    };
    server
        // Who leaves only when the lame duck is over is noticed.
        .cluster(|cluster| {
            cluster.reload_health(Duration::from_millis(100)).lame_duck(Duration::from_secs(20))
        })
        .tls_handshake_timeout(Duration::from_secs(2))
        .bind_rustls_0_23(addr, config)
        .expect("a free port")
        .on_connect(|connection, data| {
            let resumed =
                connection.downcast_ref::<Secure>().map(|secure| secure.get_ref().1.handshake_kind());
            data.insert(Arrived(match resumed {
                Some(Some(rustls::HandshakeKind::Resumed)) => "resumed",
                Some(_) => "new",
                None => "no TLS",
            }));
        })
        .run()
}
