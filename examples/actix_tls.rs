//! Run with `cargo run --release --example actix_tls -- 127.0.0.1:3443`, then `curl --cacert cert.pem https://localhost:3443/`.
//! Two more arguments name the files of the certificate and its key; where there are none, it makes a certificate for
//! `localhost` that signs itself.
//!
//! actix-web with HTTPS and HTTP/2 by rustls.
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::{env, fs};

use actix_web::{App, HttpRequest, Responder, get};
use cluster_actix::{BoxError, HttpServer, Worker};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

#[get("/")]
async fn hello(worker: Worker, request: HttpRequest) -> impl Responder {
    format!("hello from worker {} (pid {}), {:?}\n", worker.id(), worker.pid(), request.version())
}

fn main() -> Result<(), BoxError> {
    let mut args = env::args().skip(1);
    let mut next = |default: &str| args.next().unwrap_or_else(|| default.into());
    let (addr, cert, key) = (next("127.0.0.1:3443"), next("cert.pem"), next("key.pem"));
    if !Path::new(&cert).exists() && !Path::new(&key).exists() {
        make_certificate(&cert, &key)?;
    }
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    HttpServer::new(|| App::new().service(hello)).bind_rustls_0_23(addr, config)?.run().join()?;
    Ok(())
}

fn make_certificate(cert: &str, key: &str) -> Result<(), BoxError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    // A key is for nobody else to read.
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(key)?;
    file.write_all(made.signing_key.serialize_pem().as_bytes())?;
    fs::write(cert, made.cert.pem())?;
    Ok(())
}
