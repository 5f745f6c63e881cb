//! Certificates of a test's own, and clients that speak TLS.
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use cluster_axum::rustls::crypto::ring::default_provider;
use cluster_axum::rustls::pki_types::pem::PemObject;
use cluster_axum::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use cluster_axum::rustls::version::{TLS12, TLS13};
use cluster_axum::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::{Folder, connect};

/// The name that all certificates are for.
pub const HOST: &str = "localhost";

/// Both versions of TLS.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A certificate that signs itself, and its key, in files.
#[derive(Debug)]
pub struct Pair {
    /// The certificate's file.
    pub cert: PathBuf,
    /// The key's file.
    pub key: PathBuf,
    der: CertificateDer<'static>,
    key_der: PrivateKeyDer<'static>,
}

impl Pair {
    /// Makes one, in `NAME.pem` and `NAME-key.pem`.
    pub fn make(folder: &Folder, name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a certificate");
        let (cert, key) = (folder.path(&format!("{name}.pem")), folder.path(&format!("{name}-key.pem")));
        fs::write(&cert, made.cert.pem()).expect("the folder can be written");
        fs::write(&key, made.signing_key.serialize_pem()).expect("the folder can be written");
        let key_der = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        Self { cert, key, der: made.cert.der().clone(), key_der }
    }

    /// One that somebody else has made.
    pub fn read(cert: PathBuf, key: PathBuf) -> Self {
        let der = CertificateDer::from_pem_file(&cert).expect("a certificate");
        let key_der = PrivateKeyDer::from_pem_file(&key).expect("a key");
        Self { cert, key, der, key_der }
    }

    /// The same certificate, to compare with, whatever becomes of this one's files.
    pub fn twin(&self) -> Self {
        let (cert, key) = (self.cert.clone(), self.key.clone());
        Self { cert, key, der: self.der.clone(), key_der: self.key_der.clone_key() }
    }

    /// Whether a server has shown it in this session, or in the one that this resumes.
    pub fn is_shown_in(&self, session: &ClientConnection) -> bool {
        session.peer_certificates().is_some_and(|chain| chain.first() == Some(&self.der))
    }

    /// Puts it where another is: renamed, each in one step.
    pub fn replace(self, other: &Self) {
        fs::rename(self.key, &other.key).expect("the folder can be written");
        fs::rename(self.cert, &other.cert).expect("the folder can be written");
    }
}

/// A client that trusts these, speaks these versions of TLS and offers these protocols. It remembers sessions.
pub fn client(
    trusted: &[&Pair],
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> ClientConfig {
    build(trusted, versions, alpn, None)
}

/// One that shows a certificate.
pub fn client_with(own: &Pair, trusted: &[&Pair]) -> ClientConfig {
    build(trusted, &VERSIONS, &[], Some(own))
}

fn build(
    trusted: &[&Pair],
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
    own: Option<&Pair>,
) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    trusted.iter().for_each(|pair| roots.add(pair.der.clone()).expect("a certificate"));
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has suites of all versions")
        .with_root_certificates(roots);
    let mut config = match own {
        Some(own) => builder
            .with_client_auth_cert(vec![own.der.clone()], own.key_der.clone_key())
            .expect("they belong together"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}

/// What a client has got.
#[derive(Debug)]
pub struct Answer {
    /// The answer's body.
    pub text: String,
    /// Whether the client's session was resumed.
    pub resumed: bool,
    /// The certificate that it was shown, now or when the session began.
    shown: CertificateDer<'static>,
    /// The client's own address.
    pub from: SocketAddr,
}

impl Answer {
    /// Whether this certificate was shown.
    pub fn is_of(&self, pair: &Pair) -> bool {
        self.shown == pair.der
    }

    /// The word behind `name` in the answer.
    pub fn word(&self, name: &str) -> &str {
        word(&self.text, name)
    }
}

/// The word behind `name` in a text.
pub fn word<'a>(text: &'a str, name: &str) -> &'a str {
    let mut words = text.split([' ', '\n']);
    words.find(|word| *word == name);
    words.next().unwrap_or_else(|| panic!("there is no {name} in {text:?}"))
}

/// Asks by HTTP/1 on a new connection.
pub fn get(addr: SocketAddr, client: &Arc<ClientConfig>, path: &str) -> io::Result<Answer> {
    finish(ask(addr, client, path)?)
}

/// A request of HTTP/1 that is under way.
pub type Asked = StreamOwned<ClientConnection, TcpStream>;

/// Sends a request of HTTP/1 on a new connection.
pub fn ask(addr: SocketAddr, client: &Arc<ClientConfig>, path: &str) -> io::Result<Asked> {
    let mut stream = on(connect(addr)?, client)?;
    say(&mut stream, path)?;
    Ok(stream)
}

/// Begins to speak TLS on a connection, when something is said.
pub fn on<S: Read + Write>(
    io: S,
    client: &Arc<ClientConfig>,
) -> io::Result<StreamOwned<ClientConnection, S>> {
    let name = ServerName::try_from(HOST).expect("a name");
    let session = ClientConnection::new(client.clone(), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, io))
}

/// Sends a request of HTTP/1, the last on its connection.
pub fn say(stream: &mut impl Write, path: &str) -> io::Result<()> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")
}

/// A connection on which one request has been answered, and that is kept.
pub fn keep(addr: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<Asked> {
    let mut stream = on(connect(addr)?, client)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n")?;
    let mut answer = Vec::new();
    // Nothing is behind the last word of the answer.
    while !answer.ends_with(b"true") && !answer.ends_with(b"false") {
        let mut bytes = [0; 1024];
        let count = stream.read(&mut bytes)?;
        answer.extend(&bytes[..count]);
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(stream)
}

/// Takes the answer, and the end after it, which must be TLS's own.
pub fn finish(mut stream: Asked) -> io::Result<Answer> {
    let from = stream.sock.local_addr()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(io::Error::other(head.to_owned()));
    }
    let shown = stream.conn.peer_certificates().and_then(|chain| chain.first()).cloned();
    Ok(Answer {
        text: body.to_owned(),
        resumed: stream.conn.handshake_kind() == Some(HandshakeKind::Resumed),
        shown: shown.ok_or_else(|| io::Error::other("no certificate was shown"))?.into_owned(),
        from,
    })
}

/// A connection whose answers are kept as they came.
struct Tapped {
    tcp: TcpStream,
    heard: Vec<u8>,
}

impl Read for Tapped {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.tcp.read(buf)?;
        self.heard.extend(&buf[..count]);
        Ok(count)
    }
}

impl Write for Tapped {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.tcp.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// Which key a server's tickets are sealed with, by its name in a ticket; and its answer. The client is one of TLS 1.2,
/// where a ticket is to be seen by whoever listens.
pub fn name_of_key(addr: SocketAddr, client: &Arc<ClientConfig>) -> io::Result<(Vec<u8>, String)> {
    let mut stream = on(Tapped { tcp: connect(addr)?, heard: Vec::new() }, client)?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let ticket = ticket_in(&stream.sock.heard).ok_or(io::ErrorKind::InvalidData)?;
    Ok((ticket[..16].to_vec(), answer))
}

/// The ticket in what a server has said (RFC 5246, 6.2.1 and 7.4; RFC 5077, 3.3).
fn ticket_in(mut heard: &[u8]) -> Option<Vec<u8>> {
    const HANDSHAKE: u8 = 22;
    const NEW_SESSION_TICKET: u8 = 4;
    let mut messages = Vec::new();
    // Records, until one that is about encryption.
    while let [HANDSHAKE, _, _, high, low, rest @ ..] = heard {
        let (record, rest) = rest.split_at_checked(usize::from(*high) << 8 | usize::from(*low))?;
        messages.extend(record);
        heard = rest;
    }
    let mut messages = &messages[..];
    loop {
        let [kind, length @ ..] = messages.first_chunk::<4>()?;
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let (message, rest) = messages[4..].split_at_checked(length)?;
        if *kind == NEW_SESSION_TICKET {
            // Behind its lifetime and its length.
            return Some(message.get(6..)?.to_vec());
        }
        messages = rest;
    }
}
