//! A client of WebSockets that can also say what no client may (RFC 6455).
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::connect;

/// The key of the standard's example, and the answer to it (1.3).
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The last frame of a message.
pub const FIN: u8 = 0x80;
/// More of the message that a frame before has begun.
pub const CONTINUATION: u8 = 0;
/// Begins a text.
pub const TEXT: u8 = 1;
/// Begins what is no text.
pub const BINARY: u8 = 2;
/// The last that a side says.
pub const CLOSE: u8 = 8;
/// Wants a pong with the same payload.
pub const PING: u8 = 9;
/// Answers a ping.
pub const PONG: u8 = 10;

/// A connection that was upgraded.
#[derive(Debug)]
pub struct WebSocket {
    stream: TcpStream,
    /// What has come and is no whole frame yet.
    buffer: Vec<u8>,
}

/// A frame of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The code of a close frame; 1005 where it has none.
    pub fn close_code(&self) -> Option<u16> {
        if self.first != FIN | CLOSE {
            return None;
        }
        match self.payload[..] {
            [high, low, ..] => Some(u16::from_be_bytes([high, low])),
            _ => Some(1005),
        }
    }
}

/// How a frame is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Masking {
    /// As clients must.
    Masked,
    /// As they must not.
    Bare,
}

/// The bytes of a frame.
pub fn frame(first: u8, payload: &[u8], masking: Masking) -> Vec<u8> {
    let (bit, mask) = match masking {
        Masking::Masked => (0x80, &MASK[..]),
        Masking::Bare => (0, &[][..]),
    };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..=125 => bytes.push(bit | len as u8),
        len @ 126..=0xffff => {
            bytes.push(bit | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    let masked = payload.iter().enumerate().map(|(at, byte)| byte ^ mask.get(at % 4).unwrap_or(&0));
    bytes.extend(masked);
    bytes
}

impl WebSocket {
    /// Connects, and has the connection upgraded.
    pub fn connect(addr: SocketAddr, path: &str) -> io::Result<Self> {
        let mut stream = connect(addr)?;
        stream.set_nodelay(true)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        )?;
        let mut socket = Self { stream, buffer: Vec::new() };
        let end = loop {
            if let Some(end) = socket.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if socket.read()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let head = String::from_utf8_lossy(&socket.buffer[..end]).into_owned();
        socket.buffer.drain(..end);
        if head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT) {
            Ok(socket)
        } else {
            Err(io::Error::other(head))
        }
    }

    /// Sends one frame, as clients do.
    pub fn send(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        self.send_bytes(&frame(first, payload, Masking::Masked))
    }

    /// Sends any bytes.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// The next frame; none where the server has ended the connection.
    pub fn next_frame(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.take_frame() {
                return Ok(Some(frame));
            }
            match self.read() {
                Ok(0) if self.buffer.is_empty() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                // What it had not read when it closed.
                Err(err) if err.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(err) => return Err(err),
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let (first, second) = (*self.buffer.first()?, *self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        let (head, len) = match second {
            126 => (4, usize::from(u16::from_be_bytes(self.buffer.get(2..4)?.try_into().ok()?))),
            127 => (10, u64::from_be_bytes(self.buffer.get(2..10)?.try_into().ok()?) as usize),
            len => (2, usize::from(len)),
        };
        let payload = self.buffer.get(head..head + len)?.to_vec();
        self.buffer.drain(..head + len);
        Some(Frame { first, payload })
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut some = [0; 64 * 1024];
        let read = self.stream.read(&mut some)?;
        self.buffer.extend(&some[..read]);
        Ok(read)
    }
}
