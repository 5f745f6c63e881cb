//! What comes beside the bytes of a unix socket (unix(7), ancillary messages): descriptors and credentials.
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{MsgFlags, recvmsg};

/// The most descriptors the kernel lets one message carry (SCM_MAX_FD, unix(7)).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

/// Receives bytes, and keeps the room that the kernel wants for what comes beside them.
///
/// That is read here and not by nix, which shows nothing of it where some was cut off (MSG_CTRUNC): descriptors
/// that there was room for would stay open for good.
pub(crate) struct Ancillary {
    space: Vec<u8>,
}

/// What has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) len: usize,
    /// What the kernel says of it: whether something was cut off.
    pub(crate) flags: MsgFlags,
    /// The sender's pid as the kernel vouches for it, on a socket that asks for credentials.
    pub(crate) pid: Option<i32>,
}

const HEAD: usize = size_of::<libc::cmsghdr>();

impl Ancillary {
    /// With room for all that may come.
    pub(crate) fn new() -> Self {
        Self::within(nix::cmsg_space!([RawFd; MAX_DESCRIPTORS], libc::ucred))
    }

    /// With room for one that brings no descriptor at the least.
    pub(crate) fn within(space: Vec<u8>) -> Self {
        debug_assert!(space.len() >= HEAD);
        Self { space }
    }

    /// Receives once. Descriptors that came and could be opened are added to `fds`, also where others could not.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
        flags: MsgFlags,
        fds: &mut Vec<OwnedFd>,
    ) -> nix::Result<Arrived> {
        self.clear();
        let mut iov = [IoSliceMut::new(buf)];
        let (len, flags) = loop {
            let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
            match recvmsg::<()>(socket.as_raw_fd(), &mut iov, Some(&mut self.space), flags) {
                Ok(received) => break (received.bytes, received.flags),
                // A peer that left without reading all of ours is reported once, BEFORE its last bytes.
                Err(Errno::EINTR | Errno::ECONNRESET) => {}
                Err(err) => return Err(err),
            }
        };
        let mut pid = None;
        for (kind, data) in messages(&self.space) {
            match kind {
                libc::SCM_RIGHTS => {
                    let numbers = data.as_chunks().0.iter().copied().map(RawFd::from_ne_bytes);
                    // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
                    fds.extend(numbers.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
                }
                // The pid is its first field.
                libc::SCM_CREDENTIALS => pid = data.first_chunk().copied().map(i32::from_ne_bytes),
                _ => {}
            }
        }
        Ok(Arrived { len, flags, pid })
    }

    /// BEFORE each call: descriptors of an earlier one must not be taken for new ones.
    fn clear(&mut self) {
        // Most bring nothing beside their bytes, and leave it clean.
        if self.space[..HEAD].iter().any(|byte| *byte != 0) {
            self.space.fill(0);
        }
    }
}

/// The messages of SOL_SOCKET that the kernel has written, each with its type, up to the first byte that it has not.
fn messages(mut space: &[u8]) -> impl Iterator<Item = (libc::c_int, &[u8])> {
    // SAFETY: it only calculates.
    let start = unsafe { libc::CMSG_LEN(0) } as usize;
    std::iter::from_fn(move || {
        let head = space.get(..HEAD)?;
        // SAFETY: so many bytes are there, all initialised, and any bytes are a head.
        let head = unsafe { head.as_ptr().cast::<libc::cmsghdr>().read_unaligned() };
        // Of another type with musl.
        let len: usize = head.cmsg_len as _;
        // One that was cut off is as long as the room was.
        let data = space.get(start..len)?;
        // SAFETY: it only calculates.
        let next = unsafe { libc::CMSG_SPACE(data.len() as libc::c_uint) } as usize;
        space = space.get(next..).unwrap_or_default();
        Some(if head.cmsg_level == libc::SOL_SOCKET { (head.cmsg_type, data) } else { (0, &[][..]) })
    })
}
