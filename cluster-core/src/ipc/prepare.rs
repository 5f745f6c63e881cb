//! From a value to a frame that is ready to go.
use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use crate::ipc::codec::{self, EncodeError, MAX_MESSAGE};
use crate::ipc::error::SendError;
use crate::ipc::frame::{self, Address, Head, Kind, MAX_INLINE};
use crate::ipc::message::Message;
use crate::ipc::notice::Weight;
use crate::ipc::outbox::Prepared;
use crate::ipc::shape::{self, Key};
use crate::sys::parcel;

thread_local! {
    /// The room of a frame that has gone, for the next.
    static ROOM: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// More room than this is not kept.
const MOST_KEPT: usize = 2 * MAX_INLINE;
/// What is written to a parcel at once.
const STEP: usize = 128 * 1024;

/// Encodes a value. `before` comes before it in the body.
pub(crate) fn prepare<T: Message>(
    kind: Kind,
    from: Address,
    to: Address,
    value: &T,
    before: &[u8],
) -> Result<Prepared, SendError> {
    let key = shape::key_of::<T>().map_err(|err| SendError::Unsupported(err.to_string()))?;
    let mut frame = ROOM.take();
    frame.clear();
    let mut head = Head::system(kind, from, to);
    head.fingerprint = key.fingerprint;
    frame::begin(&mut frame, &head, key.name.as_bytes());
    let body = frame.len();
    let mut inline = Inline { frame: &mut frame, most: body + MAX_INLINE, overflown: false };
    let encoded = inline
        .write_all(before)
        .map_err(EncodeError::Io)
        .and_then(|()| codec::encode_message_to(value, &mut inline).map(drop));
    let mut parcel = None;
    match (inline.overflown, encoded) {
        (false, Ok(())) => {}
        (false, Err(err)) => return Err(refused(key, err)),
        (true, _) => {
            let (fd, len) = wrap(key, value, before)?;
            parcel = Some((Arc::new(fd), len));
            frame::make_parcel(&mut frame, 0, body, len);
        }
    }
    frame::end(&mut frame, 0);
    let weight = Weight::of(frame.len(), parcel.as_ref().map(|(_, len)| *len));
    Ok(Prepared { to, frame, parcel: parcel.map(|(fd, _)| fd), weight })
}

/// A frame has gone: its room is for the next of this thread.
pub(crate) fn recycle(prepared: Prepared) {
    if prepared.frame.capacity() <= MOST_KEPT {
        ROOM.set(prepared.frame);
    }
}

/// Encodes into a parcel.
fn wrap<T: Message>(key: &Key, value: &T, before: &[u8]) -> Result<(OwnedFd, u64), SendError> {
    let system = |err: io::Error| SendError::System(format!("cannot make a parcel: {err}"));
    let mut file = Measured { to: parcel::create().map_err(system)?, len: 0 };
    let mut buffer = BufWriter::with_capacity(STEP, &mut file);
    let written = buffer
        .write_all(before)
        .map_err(EncodeError::Io)
        .and_then(|()| codec::encode_message_to(value, &mut buffer).map(drop))
        .and_then(|()| buffer.flush().map_err(EncodeError::Io));
    // Nothing is left in it, or it is of no use.
    let (_, _) = buffer.into_parts();
    if file.len > MAX_MESSAGE as u64 {
        return Err(too_large(key, file.len));
    }
    written.map_err(|err| refused(key, err))?;
    let len = file.len;
    Ok((parcel::seal(file.to).map_err(system)?, len))
}

fn refused(key: &Key, err: EncodeError) -> SendError {
    match err {
        EncodeError::TooLong { size } => too_large(key, size as u64),
        err @ (EncodeError::Refused(_) | EncodeError::Io(_)) => {
            SendError::Encode { type_name: key.name.clone(), why: err.to_string() }
        }
    }
}

fn too_large(key: &Key, size: u64) -> SendError {
    SendError::TooLarge { type_name: key.name.clone(), size, limit: MAX_MESSAGE as u64 }
}

/// A body within the stream.
struct Inline<'a> {
    frame: &'a mut Vec<u8>,
    most: usize,
    overflown: bool,
}

impl Write for Inline<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.frame.len() + bytes.len() > self.most {
            self.overflown = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.frame.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is written, and takes no more than a message may have.
struct Measured<W> {
    to: W,
    len: u64,
}

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.len + bytes.len() as u64 > MAX_MESSAGE as u64 {
            self.len += bytes.len() as u64;
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let written = self.to.write(bytes)?;
        self.len += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
