//! What is said over the socket by which connections change hands: packets of a few bytes, with descriptors.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::sys::ancillary::MAX_DESCRIPTORS;
use crate::sys::channel;

/// The primary to a worker.
#[derive(Debug)]
pub(crate) enum ToWorker {
    /// There are offers in your page.
    Ring,
    /// Connections that you have claimed, each with its listener; and of those that this process had no descriptor
    /// for, the listeners.
    Connections { arrived: Vec<(OwnedFd, u16)>, lost: Vec<u16> },
    /// The cluster ends: nothing more is accepted, and all that was is sent.
    NothingMore,
}

/// A worker to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ToPrimary {
    /// I wait for connections.
    Here,
    /// I have claimed some of what you have offered.
    Claims,
    /// There is room where there was none, in the cluster or in me: you may wait for that. It does not say that I
    /// wait for connections.
    Room,
}

const RING: u8 = 1;
const CONNECTIONS: u8 = 2;
const HERE: u8 = 3;
const CLAIMS: u8 = 4;
const ROOM: u8 = 5;
const NOTHING_MORE: u8 = 6;

/// The most connections in one packet.
pub(crate) const MOST: usize = MAX_DESCRIPTORS;
const PACKET: usize = 1 + 2 * MOST;

/// What came over the socket.
#[derive(Debug)]
pub(crate) enum Heard<T> {
    Said(T),
    /// Nothing for now.
    Nothing,
    /// The other side is gone, or speaks what nobody understands.
    End,
}

impl ToPrimary {
    /// Never waits.
    pub(crate) fn send(self, socket: BorrowedFd<'_>) -> nix::Result<()> {
        let kind = match self {
            ToPrimary::Here => HERE,
            ToPrimary::Claims => CLAIMS,
            ToPrimary::Room => ROOM,
        };
        channel::try_send(socket, &[kind], &[])
    }

    /// Never waits.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Heard<Self> {
        let mut packet = [0; 2];
        match channel::receive_plain(socket, &mut packet).map(|len| &packet[..len]) {
            Ok([HERE]) => Heard::Said(ToPrimary::Here),
            Ok([CLAIMS]) => Heard::Said(ToPrimary::Claims),
            Ok([ROOM]) => Heard::Said(ToPrimary::Room),
            Err(Errno::EAGAIN) => Heard::Nothing,
            Ok(_) | Err(_) => Heard::End,
        }
    }
}

impl ToWorker {
    /// Rings; never waits.
    pub(crate) fn ring(socket: BorrowedFd<'_>) -> nix::Result<()> {
        channel::try_send(socket, &[RING], &[])
    }

    /// Says that there is nothing more to come; never waits.
    pub(crate) fn dismiss(socket: BorrowedFd<'_>) -> nix::Result<()> {
        channel::try_send(socket, &[NOTHING_MORE], &[])
    }

    /// Sends up to [`MOST`] connections; never waits. They are the other's once it has succeeded.
    pub(crate) fn send_connections(
        socket: BorrowedFd<'_>,
        connections: &[(impl AsFd, u16)],
    ) -> nix::Result<()> {
        let mut packet = vec![CONNECTIONS];
        packet.extend(connections.iter().flat_map(|(_, listener)| listener.to_le_bytes()));
        let fds: Vec<BorrowedFd<'_>> = connections.iter().map(|(fd, _)| fd.as_fd()).collect();
        channel::try_send(socket, &packet, &fds)
    }

    /// Never waits. Connections that this process has no descriptors for are lost; the others are not.
    pub(crate) fn receive(socket: BorrowedFd<'_>) -> Heard<Self> {
        let mut packet = [0; PACKET];
        let received = match channel::receive_what_fits(socket, &mut packet) {
            Ok(received) => received,
            Err(Errno::EAGAIN) => return Heard::Nothing,
            Err(_) => return Heard::End,
        };
        match packet[..received.len].split_first() {
            Some((&RING, [])) => Heard::Said(ToWorker::Ring),
            Some((&NOTHING_MORE, [])) => Heard::Said(ToWorker::NothingMore),
            Some((&CONNECTIONS, listeners)) => {
                let mut listeners = listeners.as_chunks().0.iter().copied().map(u16::from_le_bytes);
                let arrived = received.fds.into_iter().zip(listeners.by_ref()).collect();
                Heard::Said(ToWorker::Connections { arrived, lost: listeners.collect() })
            }
            _ => Heard::End,
        }
    }
}

/// A pair of sockets for it: the primary's, the worker's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    channel::pair().map_err(io::Error::from)
}
