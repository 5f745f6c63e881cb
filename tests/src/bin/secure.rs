//! A web application over TLS: `secure fork|await ADDR CERT KEY [KNOB..]`. It says who serves, and what it knows of the
//! client; `/slow` takes half a second, and says on standard error that it begins. Knobs:
//! - `staff=PEM`: also on a second address, for clients that show one of these certificates;
//! - `handshake=MS`, `rotation=MS`: the server's settings;
//! - `max=N`: connections per worker.
use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::{Connected, IntoMakeServiceWithConnectInfo};
use axum::routing::get;
use cluster_axum::rustls::crypto::ring;
use cluster_axum::rustls::pki_types::pem::PemObject;
use cluster_axum::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use cluster_axum::rustls::server::WebPkiClientVerifier;
use cluster_axum::rustls::{HandshakeKind, RootCertStore, ServerConfig};
use cluster_axum::{Accepted, Serve};

const SLOW: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr, cert, key, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: secure fork|await ADDR CERT KEY [KNOB..]");
        return ExitCode::from(2);
    };
    match serve(method, [addr, cert, key], knobs) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
    }
}

fn serve(method: &str, [addr, cert, key]: [&String; 3], knobs: &[String]) -> Result<(), Box<dyn Error>> {
    let mut serve = cluster_axum::serve(app()).workers(2).bind_tls(addr.clone(), cert, key);
    for (name, value) in knobs.iter().filter_map(|knob| knob.split_once('=')) {
        serve = match name {
            "staff" => serve.bind_rustls("127.0.0.1:0", for_staff(value, cert, key)?),
            "handshake" => serve.handshake_timeout(millis(value)?),
            "rotation" => serve.ticket_rotation(millis(value)?),
            _ => serve.max_connections(value.parse()?),
        };
    }
    run(serve.cluster(|builder| builder.reload_health(Duration::from_millis(100))), method)?;
    Ok(())
}

fn run(serve: Serve, method: &str) -> Result<(), cluster_axum::Error> {
    if method == "fork" {
        return serve.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve.into_future())
}

fn millis(value: &str) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::from_millis(value.parse()?))
}

/// For clients that show a certificate of these.
fn for_staff(known: &str, cert: &str, key: &str) -> Result<ServerConfig, Box<dyn Error>> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(known)? {
        roots.add(cert?)?;
    }
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build()?;
    Ok(ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?)
}

/// What is known of a client.
#[derive(Clone)]
struct Facts(String);

impl Connected<Accepted<'_>> for Facts {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        let tls = accepted.tls().expect("all listeners speak TLS");
        let alpn = tls.alpn_protocol().map(|alpn| String::from_utf8_lossy(alpn).into_owned());
        Self(format!(
            "peer {} alpn {} name {} certificates {} resumed {}",
            accepted.remote_addr(),
            alpn.as_deref().unwrap_or("none"),
            tls.server_name().unwrap_or("none"),
            tls.peer_certificates().map_or(0, <[_]>::len),
            tls.handshake_kind() == Some(HandshakeKind::Resumed),
        ))
    }
}

fn app() -> IntoMakeServiceWithConnectInfo<Router, Facts> {
    let who = async |ConnectInfo(facts): ConnectInfo<Facts>| {
        let worker = cluster_axum::worker();
        format!("worker {} generation {} {}", worker.pid(), worker.generation(), facts.0)
    };
    let slow = async || {
        eprintln!("slow begins");
        tokio::time::sleep(SLOW).await;
        "late"
    };
    Router::new()
        .route("/", get(who))
        .route("/slow", get(slow))
        .into_make_service_with_connect_info::<Facts>()
}
