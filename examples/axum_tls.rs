//! Run with `cargo run --release --example axum_tls -- 127.0.0.1:3443`, then `curl --cacert cert.pem https://localhost:3443/`.
//! Two more arguments name the files of the certificate and its key; where there are none, it makes a certificate for
//! `localhost` that signs itself. Put another in their place and `kill -HUP` the primary: it is shown from then on.
//!
//! HTTPS with HTTP/2. Who comes back resumes its session, whichever worker answers.
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{env, fs};

use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::{Router, routing::get};
use cluster_axum::rustls::HandshakeKind;
use cluster_axum::{Accepted, BoxError, Worker};

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.into());
    let (addr, cert, key) = (next("127.0.0.1:3443"), next("cert.pem"), next("key.pem"));
    if !Path::new(&cert).exists() && !Path::new(&key).exists() {
        make_certificate(&cert, &key)?;
    }
    let app = Router::new().route("/", get(hello));
    let app = app.into_make_service_with_connect_info::<Session>();
    cluster_axum::serve(app).bind_tls(addr, cert, key).run()?;
    Ok(())
}

/// How a client's session began.
#[derive(Clone)]
struct Session(&'static str);

impl Connected<Accepted<'_>> for Session {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        match accepted.tls().and_then(|tls| tls.handshake_kind()) {
            Some(HandshakeKind::Resumed) => Self("resumed"),
            _ => Self("new"),
        }
    }
}

async fn hello(worker: Worker, ConnectInfo(session): ConnectInfo<Session>) -> String {
    format!("hello from worker {} (pid {}), session {}\n", worker.id(), worker.pid(), session.0)
}

fn make_certificate(cert: &str, key: &str) -> Result<(), BoxError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    // A key is for nobody else to read.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(key)?;
    file.write_all(made.signing_key.serialize_pem().as_bytes())?;
    fs::write(cert, made.cert.pem())?;
    Ok(())
}
