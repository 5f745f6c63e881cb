//! axum over TLS as its own examples have it, for the suite `tls`: `tls_axum THREADS CERT KEY`.
//!
//! One process with a runtime of so many threads, tokio-rustls, and hyper-util's server. It prints `listening on
//! https://ADDR` when it serves, and ends when its standard input does.
#![forbid(unsafe_code)]
use std::error::Error;
use std::io::{self, Read};
use std::sync::Arc;
use std::{env, process, thread};

use axum::Router;
use axum::routing::get;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [threads, cert, key] = &arguments[..] else { return Err("usage: THREADS CERT KEY".into()) };
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    thread::spawn(|| {
        // Whoever started this process holds the other end.
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(0);
    });
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(threads.parse()?).enable_all().build()?.block_on(async {
        let app = Router::new()
            .route("/", get(|| async { format!("hello from worker 1 (pid {})\n", process::id()) }));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on https://{}", listener.local_addr()?);
        loop {
            let (tcp, _) = listener.accept().await?;
            tokio::spawn(serve(acceptor.clone(), tcp, app.clone()));
        }
    })
}

async fn serve(acceptor: TlsAcceptor, tcp: TcpStream, app: Router) {
    let _ = tcp.set_nodelay(true);
    let Ok(stream) = acceptor.accept(tcp).await else { return };
    let builder = auto::Builder::new(TokioExecutor::new());
    // A client that leaves is its own business.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(app)).await;
}
