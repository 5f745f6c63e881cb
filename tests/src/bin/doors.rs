//! HTTPS on sockets that others have opened: `doors axum|actix fork|await CERT KEY HOW@PLACE..`. It says who serves, and
//! what it knows of the client.
//! - HOW is `files` (axum), `rustls`, `openssl` (actix, with that feature), or `staff`: rustls for clients that show this
//!   certificate themselves.
//! - PLACE is `made` (by `bind_tcp`), `own` (bound by `main` itself), `fd:NAME`, or `fd:NAME=ADDR`.
use std::any::Any;
use std::error::Error;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::{env, fmt};

use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::{App, HttpRequest, web};
use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::get;
use cluster_axum::{Accepted, Builder, Serve};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};

type Done<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, framework, method, cert, key, doors @ ..] = &arguments[..] else {
        eprintln!("usage: doors axum|actix fork|await CERT KEY HOW@PLACE..");
        return ExitCode::from(2);
    };
    let pair = Pair { cert, key };
    let ended = if framework == "axum" { axum(method, pair, doors) } else { actix(method, pair, doors) };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

/// A certificate's file, and its key's.
#[derive(Clone, Copy)]
struct Pair<'a> {
    cert: &'a str,
    key: &'a str,
}

impl Pair<'_> {
    fn config(self, how: &str) -> Done<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let chain = CertificateDer::pem_file_iter(self.cert)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(self.key)?;
        let mut known = RootCertStore::empty();
        known.add_parsable_certificates(chain.clone());
        let config =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let config = if how == "staff" {
            let verifier = WebPkiClientVerifier::builder_with_provider(known.into(), provider);
            config.with_client_cert_verifier(verifier.build()?)
        } else {
            config.with_no_client_auth()
        };
        Ok(config.with_single_cert(chain, key)?)
    }

    #[cfg(feature = "openssl")]
    fn acceptor(self) -> Done<openssl::ssl::SslAcceptorBuilder> {
        use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
        let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())?;
        tls.set_private_key_file(self.key, SslFiletype::PEM)?;
        tls.set_certificate_chain_file(self.cert)?;
        Ok(tls)
    }
}

enum Place<'a> {
    Made(TcpListener),
    Passed(&'a str),
    PassedOr(&'a str, &'a str),
}

/// How a door is opened, and where it is.
fn door(door: &str) -> Done<(&str, Place<'_>)> {
    let (how, place) = door.split_once('@').ok_or("a door is HOW@PLACE")?;
    let place = match (place, place.strip_prefix("fd:")) {
        ("made", _) => Place::Made(cluster_axum::bind_tcp("127.0.0.1:0")?),
        ("own", _) => Place::Made(TcpListener::bind("127.0.0.1:0")?),
        (_, Some(passed)) => match passed.split_once('=') {
            Some((name, addr)) => Place::PassedOr(name, addr),
            None => Place::Passed(passed),
        },
        _ => return Err("no such place".into()),
    };
    Ok((how, place))
}

/// What a worker says.
struct Facts {
    certificates: usize,
    resumed: bool,
}

impl Facts {
    fn of(tls: &ServerConnection) -> Self {
        Self {
            certificates: tls.peer_certificates().map_or(0, <[_]>::len),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worker = cluster_axum::worker();
        let Self { certificates, resumed } = self;
        let (pid, generation) = (worker.pid(), worker.generation());
        write!(f, "worker {pid} generation {generation} certificates {certificates} resumed {resumed}")
    }
}

fn settings(builder: Builder) -> Builder {
    builder.workers(2).reload_health(std::time::Duration::from_millis(100))
}

#[derive(Clone)]
struct Told(Arc<Facts>);

impl Connected<Accepted<'_>> for Told {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        Self(Arc::new(Facts::of(accepted.tls().expect("all doors speak TLS"))))
    }
}

fn axum(method: &str, pair: Pair<'_>, doors: &[String]) -> Done<()> {
    let who = async |ConnectInfo(told): ConnectInfo<Told>| told.0.to_string();
    let app = Router::new().route("/", get(who)).into_make_service_with_connect_info::<Told>();
    let serve = doors.iter().try_fold(cluster_axum::serve(app).cluster(settings), |serve, wanted| {
        let (how, place) = door(wanted)?;
        with_door(serve, how, place, pair)
    })?;
    if method == "fork" {
        return Ok(serve.run()?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(serve.into_future())?)
}

fn with_door(serve: Serve, how: &str, place: Place<'_>, pair: Pair<'_>) -> Done<Serve> {
    let Pair { cert, key } = pair;
    Ok(match (place, how) {
        (Place::Made(listener), "files") => serve.listen_tls(listener, cert, key),
        (Place::Made(listener), how) => serve.listen_rustls(listener, pair.config(how)?),
        (Place::Passed(name), "files") => serve.inherit_tls(name, cert, key),
        (Place::Passed(name), how) => serve.inherit_rustls(name, pair.config(how)?),
        (Place::PassedOr(name, addr), "files") => serve.inherit_or_bind_tls(name, addr, cert, key),
        (Place::PassedOr(name, addr), how) => serve.inherit_or_bind_rustls(name, addr, pair.config(how)?),
    })
}

/// What is known of a connection's session, if it is one of rustls.
fn facts(connection: &dyn Any) -> Option<Facts> {
    use actix_tls::accept::rustls_0_23::TlsStream;
    let tcp = connection.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref().1);
    let unix = connection.downcast_ref::<TlsStream<UnixStream>>().map(|tls| tls.get_ref().1);
    tcp.or(unix).map(Facts::of)
}

fn actix(method: &str, pair: Pair<'_>, doors: &[String]) -> Done<()> {
    let server = || -> Done<_> {
        let who = async |request: HttpRequest| match request.conn_data::<Facts>() {
            Some(facts) => facts.to_string(),
            None => Facts { certificates: 0, resumed: false }.to_string(),
        };
        let app = move || App::new().route("/", web::get().to(who));
        let mut server = cluster_actix::HttpServer::new(app).on_connect(|connection, data| {
            if let Some(facts) = facts(connection) {
                data.insert(facts);
            }
        });
        for wanted in doors {
            server = match door(wanted)? {
                #[cfg(feature = "openssl")]
                ("openssl", Place::Made(listener)) => server.listen_openssl(listener, pair.acceptor()?),
                #[cfg(feature = "openssl")]
                ("openssl", Place::Passed(name)) => server.inherit_openssl(name, pair.acceptor()?),
                #[cfg(feature = "openssl")]
                ("openssl", Place::PassedOr(name, addr)) => {
                    server.inherit_or_bind_openssl(name, addr, pair.acceptor()?)
                }
                (how, Place::Made(listener)) => server.listen_rustls_0_23(listener, pair.config(how)?),
                (how, Place::Passed(name)) => server.inherit_rustls_0_23(name, pair.config(how)?),
                (how, Place::PassedOr(name, addr)) => {
                    server.inherit_or_bind_rustls_0_23(name, addr, pair.config(how)?)
                }
            }?;
        }
        Ok(server.cluster(settings).run())
    };
    if method == "fork" {
        return Ok(server()?.join()?);
    }
    actix_web::rt::System::new().block_on(async { Ok(server()?.await?) })
}
