//! For the tests of this crate's promises to those who break its protocols; no promise is made about it.
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::sys::socket::{SockType, getsockopt, sockopt};

use crate::conn::{Bell, Rota};
use crate::counter::Counting;
use crate::event::Status;
use crate::ipc::control::{self, PROTOCOL, ToPrimary, Welcome};
use crate::ipc::frame::{Address, Head, Kind};
use crate::ipc::{notice, picture};
use crate::role::VARIABLE;
use crate::scoreboard::Page;
use crate::secret::{Keeper, ROTATION};
use crate::sys::page::Mapped;
use crate::sys::{channel, descriptors};

/// A worker's or director's own lines to its primary, as another hand on them.
#[derive(Debug)]
pub struct Lines {
    /// Packets: the control protocol.
    pub control: OwnedFd,
    /// A stream: messages.
    pub messages: OwnedFd,
}

impl Lines {
    /// Finds them among this process's descriptors.
    ///
    /// # Errors
    /// It has none: it is no process of a cluster.
    pub fn of_this_process() -> io::Result<Self> {
        let primary = nix::unistd::getppid().as_raw();
        let find = |wanted| find_socket(primary, wanted).ok_or(io::Error::from(io::ErrorKind::NotConnected));
        Ok(Self { control: find(SockType::SeqPacket)?, messages: find(SockType::Stream)? })
    }
}

/// A copy of the first unix socket whose other end this process has made.
fn find_socket(maker: i32, wanted: SockType) -> Option<OwnedFd> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    numbers.into_iter().find_map(|number| {
        descriptors::peek(number, |fd| {
            let is_it =
                getsockopt(&fd, sockopt::SockType) == Ok(wanted) && channel::peer_pid(fd) == Ok(maker);
            if is_it { fd.try_clone_to_owned().ok() } else { None }
        })
    })
}

/// Stands in for the primary of one worker or director of the exec method.
#[derive(Debug)]
pub struct FalsePrimary {
    /// The process that it has started.
    pub child: Child,
    /// Its lines, at the primary's end.
    pub lines: Lines,
}

impl FalsePrimary {
    /// Executes a program as the role `worker` or `director`, number 1 and slot 0 of 2, without listening
    /// sockets. Its standard error is a pipe, in [`FalsePrimary::child`].
    ///
    /// # Errors
    /// It cannot be started.
    pub fn execute(program: &str, arguments: &[&str], role: &str) -> io::Result<Self> {
        let (control, theirs) = channel::pair()?;
        let (messages, their_messages) = channel::stream_pair()?;
        let (_page, page) = Mapped::<Page>::create(c"cluster-worker")?;
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let (heard, real) = io::pipe()?;
        let welcome = Welcome {
            protocol: PROTOCOL,
            id: 1,
            slot: 0,
            slots: 2,
            generation: 1,
            director: true,
            passes: false,
            place: None,
            prepare: false,
            alone: false,
            sockets: Vec::new(),
        };
        let bell = Bell::new()?;
        let (_, rota) = Mapped::<Rota>::create(c"cluster-rota")?;
        let keeper = Keeper::begin(Instant::now(), ROTATION)?;
        let counting = Counting::begin()?;
        let fds = [
            page.as_fd(),
            read.as_fd(),
            write.as_fd(),
            real.as_fd(),
            their_messages.as_fd(),
            bell.as_fd(),
            rota.as_fd(),
            keeper.page(),
            counting.as_fd(),
        ];
        control::try_send_with(control.as_fd(), &welcome, &fds)?;
        if role == "director" {
            let mut snapshot = Vec::new();
            let head = Head::system(Kind::Word, Address::Exchange, Address::Director);
            for word in picture::words(Status::default()) {
                notice::write(&mut snapshot, &head, &word);
            }
            nix::unistd::write(&messages, &snapshot)?;
        }
        let mut command = Command::new("/bin/sh");
        // The shell gives the socket its number: nothing else of ours crosses the exec.
        command.args(["-c", "exec \"$@\" 9<&0 </dev/null", "sh", program]).args(arguments);
        command.env(VARIABLE, format!("{role},fd=9,primary={}", std::process::id()));
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::from(write)).spawn()?;
        child.stderr = Some(OwnedFd::from(heard).into());
        Ok(Self { child, lines: Lines { control, messages } })
    }

    /// Waits until the process has said that it serves.
    ///
    /// # Errors
    /// It says something else, or ends.
    pub fn wait_until_ready(&self) -> io::Result<()> {
        loop {
            match control::receive::<ToPrimary>(self.lines.control.as_fd(), true)? {
                Some(received) if received.message == ToPrimary::Ready => return Ok(()),
                Some(received) => match received.message {
                    ToPrimary::Hello { .. } | ToPrimary::Online { .. } => {}
                    other => return Err(io::Error::other(format!("it says {other:?}"))),
                },
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }
}

impl Drop for FalsePrimary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
