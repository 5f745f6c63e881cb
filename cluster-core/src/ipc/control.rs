//! The control protocol between the primary and what it starts: packets, one per message.
//!
//! A socket's life: the newcomer says [`Hello`](ToPrimary::Hello), the primary has put a [`Welcome`] in the
//! socket before the newcomer was born, and from then on both speak the enums below.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Scheduling;
pub(crate) use crate::command::Command;
use crate::error::{CommandError, ReloadError};
use crate::event::{Event, ListenerStatus, Status, WorkerCounts};
use crate::id::{PeerId, WorkerId};
use crate::ipc::codec;
use crate::sys::channel;

/// Grows with every change of the types in this file.
pub(crate) const PROTOCOL: u32 = 9;
/// No packet is longer.
pub(crate) const MAX_PACKET: usize = codec::MAX_ENCODED;
/// A command or an event with no text in it; small enough for a stack.
pub(crate) const SMALL_PACKET: usize = 256;
/// Longer texts are cut.
const MAX_TEXT: usize = 4 * 1024;

/// What a newcomer is told first. With it come, in this order: what it owns (a worker's and a director's: its
/// page, both ends of its stderr, the real stderr, its message socket, the bell, the rota and the secrets of all workers),
/// then the sockets.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
pub(crate) struct Welcome {
    /// First, so that it is read even where the rest has changed.
    pub(crate) protocol: u32,
    pub(crate) id: u64,
    pub(crate) slot: u16,
    pub(crate) slots: u16,
    pub(crate) generation: u64,
    /// Whether the cluster has a director.
    pub(crate) director: bool,
    /// Whether connections are handed out: then a socket for that comes behind what it owns.
    pub(crate) passes: bool,
    /// This worker's place in the ledger of open connections, where the cluster's are limited: then that comes next.
    pub(crate) place: Option<u32>,
    /// Whether its generation is still to be prepared for: that is a fork server's business, and of one that is executed
    /// for it. For any other process it would be too late.
    pub(crate) prepare: bool,
    /// A process of the exec method that prepares, and does nothing else.
    pub(crate) alone: bool,
    pub(crate) sockets: Vec<SocketName>,
}

/// A listening socket as all processes of the cluster know it.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct SocketName {
    /// The address as `main` wrote it.
    pub(crate) written: String,
    /// Which occurrence of it.
    pub(crate) nth: u32,
    /// Whose its queue is.
    pub(crate) queue: Queue,
    /// Who decides which worker gets its connections.
    pub(crate) scheduling: Scheduling,
}

/// Whose what waits in a listener's queue is when the cluster ends.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The cluster's: it is served, then the queue is closed, so that clients are refused at once.
    Ours,
    /// That of whoever has passed the socket to the program, and passes it to the next run.
    Lent,
}

/// From the primary to a worker or a director.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum ToWorker {
    /// Stop taking connections, finish what is open, leave. Where the cluster ends, take what is queued
    /// first and close the queue: clients are then refused at once and do not wait for nothing.
    Drain { close_queue: bool },
    /// Not yet: what asks for a drain is forgotten. A director stays until the last worker has left.
    Stay,
    /// End yourself and your group now.
    Kill,
    /// You hang: write into your page where your threads stand, then end yourself and your group.
    Dump,
    /// Log files were moved away.
    ReopenLogs,
}

/// From a worker or a director to the primary.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum ToPrimary {
    /// First word of a newcomer; the kernel adds its pid.
    Hello { protocol: u32 },
    /// Its sentinel watches, and relays its standard error.
    Online,
    /// It serves.
    Ready,
    /// It drains of its own accord: told by a signal, or retired.
    Draining,
    /// Its program ended, with this error if there is one; it is about to leave.
    Finished { error: Option<String> },
    /// Its program never came so far as to serve.
    BootFailed { error: String },
}

/// From the primary to a fork server.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum ToForkServer {
    /// Fork a process that takes the descriptor of this packet as its control socket.
    Fork { peer: PeerId },
}

/// From a fork server to the primary.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum FromForkServer {
    Hello {
        protocol: u32,
    },
    /// Before it greets: the process that prepares its generation, the leader of its group.
    Preparing {
        pid: i32,
    },
    /// That has failed. There is no greeting after this.
    Unprepared {
        error: String,
    },
    /// The process lives; with this packet comes its pidfd.
    Born {
        peer: PeerId,
        pid: i32,
    },
    /// It could not be forked.
    Stillborn {
        peer: PeerId,
        error: String,
    },
}

/// From the primary to the director, in its stream of messages: so that all that a worker said comes before
/// the worker's end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ToDirector {
    /// How things stand; what follows changes it. In pieces, where the workers are very many: this one has those
    /// from the `first` on, of all.
    Snapshot {
        status: Status,
        first: u32,
        total: u32,
    },
    Event(Event),
    /// What some workers have counted.
    Counts(Vec<(WorkerId, WorkerCounts)>),
    /// How a listener stands, by its number.
    Listener {
        number: u16,
        listener: ListenerStatus,
    },
    /// The answer to a command: it has happened, or why not.
    Reply {
        id: u64,
        result: Result<(), CommandError>,
    },
    /// The answer to a wish to reload.
    Reloaded {
        id: u64,
        result: Result<(), ReloadError>,
    },
}

/// From the director to the primary, in its stream of messages.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) enum FromDirector {
    Command { id: u64, command: Command },
}

/// Sends one message and descriptors; waits where the peer does not read.
pub(crate) fn send<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut buf = [0; MAX_PACKET];
    let bytes = codec::encode(message, &mut buf).map_err(io::Error::other)?;
    channel::send(socket, bytes, fds).map_err(io::Error::from)
}

/// Sends one small message without allocating; never waits.
pub(crate) fn try_send<T: Serialize>(socket: BorrowedFd<'_>, message: &T) -> io::Result<()> {
    let mut buf = [0; SMALL_PACKET];
    let bytes = codec::encode(message, &mut buf).map_err(io::Error::other)?;
    channel::try_send(socket, bytes, &[]).map_err(io::Error::from)
}

/// Sends one message with descriptors; never waits.
pub(crate) fn try_send_with<T: Serialize>(
    socket: BorrowedFd<'_>,
    message: &T,
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut buf = [0; MAX_PACKET];
    let bytes = codec::encode(message, &mut buf).map_err(io::Error::other)?;
    channel::try_send(socket, bytes, fds).map_err(io::Error::from)
}

/// A message as it came in.
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) fds: Vec<OwnedFd>,
    pub(crate) pid: Option<i32>,
}

/// Receives one message. `None` is the end of the stream; bytes that are no message are `InvalidData`.
pub(crate) fn receive<T: DeserializeOwned>(
    socket: BorrowedFd<'_>,
    wait: bool,
) -> io::Result<Option<Received<T>>> {
    let mut buf = vec![0; MAX_PACKET];
    let packet = match channel::receive(socket, &mut buf, wait) {
        Err(Errno::EMSGSIZE) => return Err(invalid("a packet was cut")),
        other => other?,
    };
    if packet.len == 0 {
        // The end has no sender; an empty packet has, where the socket asks for credentials.
        return if packet.pid.is_some() { Err(invalid("an empty packet")) } else { Ok(None) };
    }
    let message = codec::decode(&buf[..packet.len]).map_err(invalid)?;
    Ok(Some(Received { message, fds: packet.fds, pid: packet.pid }))
}

/// Receives one command without allocating; for the sentinel.
pub(crate) fn receive_command(socket: BorrowedFd<'_>) -> io::Result<Option<ToWorker>> {
    let mut buf = [0; SMALL_PACKET];
    match channel::receive_plain(socket, &mut buf) {
        Ok(0) => Ok(None),
        Ok(len) => codec::decode(&buf[..len]).map(Some).map_err(invalid),
        Err(err) => Err(err.into()),
    }
}

/// Greets the primary and waits for its welcome.
pub(crate) fn greet<T: Serialize>(socket: &OwnedFd, hello: &T) -> io::Result<(Welcome, Vec<OwnedFd>)> {
    send(socket.as_fd(), hello, &[])?;
    receive_welcome(socket)
}

/// Waits for the primary's welcome.
pub(crate) fn receive_welcome(socket: &OwnedFd) -> io::Result<(Welcome, Vec<OwnedFd>)> {
    let received = receive::<Welcome>(socket.as_fd(), true)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::BrokenPipe, "it is gone"))?;
    if received.message.protocol != PROTOCOL {
        return Err(invalid(format!(
            "it speaks protocol {}, this program {PROTOCOL}",
            received.message.protocol
        )));
    }
    Ok((received.message, received.fds))
}

/// A text that fits into a packet.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    let mut text = error.to_string();
    let end = (0..=MAX_TEXT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.truncate(end);
    text
}

fn invalid(err: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_says_the_other_hears() {
        let (ours, theirs) = channel::pair().unwrap();
        send(theirs.as_fd(), &ToPrimary::Hello { protocol: PROTOCOL }, &[]).unwrap();
        let heard = receive::<ToPrimary>(ours.as_fd(), true).unwrap().unwrap();
        assert_eq!(heard.message, ToPrimary::Hello { protocol: PROTOCOL });
        assert_eq!(heard.pid, Some(std::process::id() as i32), "the kernel vouches for the sender");
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error_and_end_nothing() {
        let (ours, theirs) = channel::pair().unwrap();
        for garbage in [&[0xff; 40][..], &[2, 0, 0, 0], &[250], &[1; SMALL_PACKET + 9]] {
            channel::send(theirs.as_fd(), garbage, &[]).unwrap();
            let err = receive::<ToPrimary>(ours.as_fd(), true).map(|heard| heard.map(|heard| heard.message));
            assert_eq!(err.unwrap_err().kind(), io::ErrorKind::InvalidData, "{garbage:?}");
        }
        send(theirs.as_fd(), &ToPrimary::Ready, &[]).unwrap();
        assert_eq!(receive::<ToPrimary>(ours.as_fd(), true).unwrap().unwrap().message, ToPrimary::Ready);
    }

    #[test]
    fn an_empty_packet_is_not_the_end() {
        let (ours, theirs) = channel::pair().unwrap();
        channel::send(theirs.as_fd(), &[], &[]).unwrap();
        let err = receive::<ToPrimary>(ours.as_fd(), true).map(|heard| heard.map(|heard| heard.message));
        assert_eq!(err.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn the_end_of_the_stream_is_no_message() {
        let (ours, theirs) = channel::pair().unwrap();
        drop(theirs);
        assert!(receive::<ToPrimary>(ours.as_fd(), true).unwrap().is_none());
        assert!(receive_command(ours.as_fd()).unwrap().is_none());
    }

    #[test]
    fn the_last_word_of_a_peer_that_left_in_a_hurry_is_heard() {
        let (ours, theirs) = channel::pair().unwrap();
        // Unread at the other end when it closes: the kernel has an error for that, which comes first.
        send(theirs.as_fd(), &ToPrimary::Hello { protocol: PROTOCOL }, &[]).unwrap();
        try_send(ours.as_fd(), &ToWorker::Kill).unwrap();
        drop(ours);
        assert_eq!(receive_command(theirs.as_fd()).unwrap(), Some(ToWorker::Kill));
        assert_eq!(receive_command(theirs.as_fd()).unwrap(), None);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let cut = text("ä".repeat(MAX_TEXT));
        assert!(cut.len() <= MAX_TEXT && cut.chars().all(|c| c == 'ä'));
        assert_eq!(text("short"), "short");
    }
}
