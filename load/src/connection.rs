//! A client's connection, of either protocol.
use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::header::{CONNECTION, HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::tally::Failure;

type Body = Empty<Bytes>;

/// A connection. Clones of one of HTTP/2 ask at the same time.
#[derive(Clone)]
pub(crate) enum Connection {
    Http1 { sender: Arc<Mutex<http1::SendRequest<Body>>>, addr: SocketAddr, says_close: bool },
    Http2 { sender: http2::SendRequest<Body>, addr: SocketAddr },
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// And whether the connection may be asked again.
    Answered {
        goes_on: bool,
    },
    /// Nothing of it was sent, or the server has said that it did not take it: it may be asked again.
    NotTaken,
    Failed(Failure, String),
}

impl Connection {
    pub(crate) async fn http1(addr: SocketAddr, says_close: bool) -> Result<Self, String> {
        let io = TokioIo::new(connect(addr).await?);
        let (sender, connection) = http1::handshake(io).await.map_err(|err| words(&err))?;
        tokio::spawn(connection);
        Ok(Self::Http1 { sender: Arc::new(Mutex::new(sender)), addr, says_close })
    }

    pub(crate) async fn http2(addr: SocketAddr) -> Result<Self, String> {
        let io = TokioIo::new(connect(addr).await?);
        let handshake = http2::handshake(TokioExecutor::new(), io);
        let (sender, connection) = handshake.await.map_err(|err| words(&err))?;
        tokio::spawn(connection);
        Ok(Self::Http2 { sender, addr })
    }

    /// One request and its whole answer.
    pub(crate) async fn ask(&self) -> Asked {
        match self {
            Connection::Http1 { sender, addr, says_close } => {
                let mut sender = sender.lock().await;
                let request = request("/", *addr, *says_close);
                // An error here says that it was closed while it was idle.
                if sender.ready().await.is_err() {
                    return Asked::NotTaken;
                }
                match sender.try_send_request(request).await {
                    Ok(response) => take(response).await,
                    // The request itself comes back: nothing of it was sent.
                    Err(err) if err.message().is_some() => Asked::NotTaken,
                    Err(err) => failed(err.error()),
                }
            }
            Connection::Http2 { sender, addr } => {
                let mut sender = sender.clone();
                if sender.ready().await.is_err() {
                    return Asked::NotTaken;
                }
                match sender.try_send_request(request(&format!("http://{addr}/"), *addr, false)).await {
                    Ok(response) => take(response).await,
                    Err(err) if err.message().is_some() => Asked::NotTaken,
                    Err(err) if is_not_taken(err.error()) => Asked::NotTaken,
                    Err(err) => failed(err.error()),
                }
            }
        }
    }
}

async fn connect(addr: SocketAddr) -> Result<TcpStream, String> {
    let tcp = TcpStream::connect(addr).await.map_err(|err| err.to_string())?;
    tcp.set_nodelay(true).map_err(|err| err.to_string())?;
    Ok(tcp)
}

fn request(uri: &str, addr: SocketAddr, says_close: bool) -> Request<Body> {
    let mut request = Request::builder().uri(uri).body(Body::new()).expect("an address makes a URI");
    if uri.starts_with('/') {
        let host = HeaderValue::from_str(&addr.to_string()).expect("an address is a header's value");
        request.headers_mut().insert(HOST, host);
    }
    if says_close {
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    request
}

async fn take(response: Response<Incoming>) -> Asked {
    let status = response.status();
    let goes_on = response.headers().get(CONNECTION).is_none_or(|value| value != "close");
    match response.into_body().collect().await {
        Ok(_) if status == StatusCode::OK => Asked::Answered { goes_on },
        Ok(_) => Asked::Failed(Failure::Status, status.to_string()),
        Err(err) => failed(&err),
    }
}

/// GOAWAY, or a refused stream: the server has not looked at it (RFC 9113, 6.8 and 8.7).
fn is_not_taken(err: &hyper::Error) -> bool {
    let Some(h2) = err.source().and_then(|source| source.downcast_ref::<h2::Error>()) else { return false };
    h2.is_remote() && (h2.is_go_away() || h2.reason() == Some(h2::Reason::REFUSED_STREAM))
}

fn failed(err: &hyper::Error) -> Asked {
    let io = err.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
    let failure = match io {
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => Failure::Reset,
        Some(io::ErrorKind::UnexpectedEof) => Failure::Closed,
        Some(_) => Failure::Other,
        None if err.is_incomplete_message() || err.is_closed() || err.is_canceled() => Failure::Closed,
        None => Failure::Other,
    };
    Asked::Failed(failure, words(err))
}

/// What went wrong, with its cause.
fn words(err: &hyper::Error) -> String {
    match err.source() {
        Some(cause) => format!("{err}: {cause}"),
        None => err.to_string(),
    }
}
