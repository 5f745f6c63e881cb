//! Listening sockets that a service manager has opened and passed on (sd_listen_fds(3)).
//!
//! They are lent: whoever has opened them has them still, and gives them to the next run of the program. So their queues
//! are never closed here, and what waits in them at the end is the next run's.
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fmt, fs, io};

use socket2::{Domain, SockRef, Type};

use crate::conn::listen::{Opened, Place};
use crate::conn::socket::ListeningSocket;
use crate::error::StartError;
use crate::sys::descriptors;

/// What the service manager says to its child. Processes that we execute do not hear it.
pub(crate) const VARIABLES: [&str; 4] = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID"];
/// SD_LISTEN_FDS_START: the number of the first.
const FIRST: RawFd = 3;
/// So many names an error tells.
const TOLD: usize = 8;

/// A listening socket that the program was started with, by systemd socket activation or what speaks like it.
///
/// By its name (`FileDescriptorName=` of the `.socket` unit; all sockets of that name are meant), or by its place in the
/// row, from 0.
///
/// # Example
/// ```
/// use cluster_core::Cluster;
/// Cluster::builder().inherit("http", "web").inherit("admin", 1);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inherited(Which);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Which {
    Named(String),
    Nth(usize),
}

impl From<&str> for Inherited {
    fn from(name: &str) -> Self {
        Self(Which::Named(name.to_owned()))
    }
}

impl From<String> for Inherited {
    fn from(name: String) -> Self {
        Self(Which::Named(name))
    }
}

impl From<usize> for Inherited {
    fn from(nth: usize) -> Self {
        Self(Which::Nth(nth))
    }
}

/// What its identity is made of.
impl fmt::Display for Inherited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Which::Named(name) => write!(f, "fd:{name}"),
            Which::Nth(nth) => write!(f, "fd:number {nth}"),
        }
    }
}

/// What has been passed to this process.
struct Passed {
    fds: Vec<PassedFd>,
    /// Why there is nothing, if there is nothing.
    why_none: Option<String>,
}

struct PassedFd {
    number: RawFd,
    name: String,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    There,
    Taken,
}

/// Read once per process: a descriptor has one owner.
static PASSED: Mutex<Option<Passed>> = Mutex::new(None);

fn passed() -> Result<MutexGuard<'static, Option<Passed>>, StartError> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    if passed.is_none() {
        let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let row = Passed::parse(variable, std::process::id())?;
        for fd in &row.fds {
            // BEFORE anything is executed, also those that nobody will ask for. A closed one is told when it is.
            let _ = descriptors::peek(fd.number, |fd| descriptors::set_cloexec(fd, true));
        }
        *passed = Some(row);
    }
    Ok(passed)
}

/// Takes the sockets over. None where no such one has been passed.
pub(super) fn open_if_passed(wanted: &Inherited) -> Result<Option<Vec<Opened>>, StartError> {
    let mut passed = passed()?;
    let row = passed.as_mut().expect("it has been read");
    row.find(wanted).into_iter().map(|at| row.fds[at].take()).collect::<Result<Vec<_>, _>>().map(|opened| {
        // All that were asked for are listeners, or none is an answer.
        (!opened.is_empty()).then_some(opened)
    })
}

/// Takes the sockets over. At least one comes back.
pub(super) fn open(wanted: &Inherited) -> Result<Vec<Opened>, StartError> {
    match open_if_passed(wanted)? {
        Some(opened) => Ok(opened),
        None => {
            let passed = passed()?;
            let why = passed.as_ref().expect("it has been read").why_not(wanted);
            Err(StartError::NotInherited { wanted: wanted.to_string(), why })
        }
    }
}

impl Passed {
    fn none(why: String) -> Self {
        Self { fds: Vec::new(), why_none: Some(why) }
    }

    /// What the environment says to process `pid`.
    fn parse(variable: impl Fn(&str) -> Option<String>, pid: u32) -> Result<Self, StartError> {
        let Some(count) = variable("LISTEN_FDS") else {
            return Ok(Self::none("LISTEN_FDS is not set".into()));
        };
        // Without it whoever is asked may answer: `systemfd --no-pid` starts through others.
        if let Some(meant) = variable("LISTEN_PID")
            && meant.trim().parse() != Ok(pid)
        {
            let why = format!("LISTEN_FDS is for process {meant} (LISTEN_PID), and this is {pid}");
            return Ok(Self::none(why));
        }
        let wrong = |value, why| StartError::Environment { name: "LISTEN_FDS", value, why };
        let number: RawFd = match count.trim().parse() {
            Ok(number @ 0..=65_536) => number,
            _ => return Err(wrong(count, "no number of descriptors")),
        };
        if number == 0 {
            return Ok(Self::none("LISTEN_FDS is 0".into()));
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        // As sd_listen_fds_with_names(3) calls what has no name.
        let mut name = || names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let fd = |number| PassedFd { number, name: name(), state: State::There };
        Ok(Self { fds: (FIRST..FIRST + number).map(fd).collect(), why_none: None })
    }

    /// Those that are meant and that nobody has taken.
    fn find(&self, wanted: &Inherited) -> Vec<usize> {
        let there = self.fds.iter().enumerate().filter(|(_, fd)| fd.state == State::There);
        let meant = there.filter(|(at, fd)| match &wanted.0 {
            Which::Named(name) => fd.name == *name,
            Which::Nth(nth) => at == nth,
        });
        meant.map(|(at, _)| at).collect()
    }

    fn why_not(&self, wanted: &Inherited) -> String {
        if let Some(why) = &self.why_none {
            return why.clone();
        }
        let is_taken = self.fds.iter().enumerate().any(|(at, fd)| match &wanted.0 {
            Which::Named(name) => fd.name == *name,
            Which::Nth(nth) => at == *nth,
        });
        if is_taken {
            return "another listener of this program has it".into();
        }
        let count = self.fds.len();
        let names: Vec<_> = self.fds.iter().take(TOLD).map(|fd| format!("`{}`", fd.name)).collect();
        let names = names.join(", ");
        match count {
            1 => format!("1 was passed, and is named {names}"),
            2..=TOLD => format!("{count} were passed, and are named {names}"),
            _ => format!("{count} were passed, and are named {names}, .."),
        }
    }
}

impl PassedFd {
    /// Takes it over, if it is a listening stream socket.
    fn take(&mut self) -> Result<Opened, StartError> {
        let fd = format!("`{}` (descriptor {})", self.name, self.number);
        let place = match descriptors::peek(self.number, look) {
            Ok(place) => place,
            Err(found) => return Err(StartError::NotAListener { fd, found }),
        };
        let failed = StartError::system::<nix::Error>("cannot take over a descriptor that was passed");
        let socket = descriptors::adopt(self.number).map_err(failed)?;
        self.state = State::Taken;
        descriptors::set_nonblocking(socket.as_fd())
            .map_err(StartError::system("cannot set O_NONBLOCK on a descriptor that was passed"))?;
        Ok(Opened { listener: ListeningSocket::lent(socket), place, file: None, backlog: None })
    }
}

/// Where it listens; or what it is instead.
fn look(fd: BorrowedFd<'_>) -> Result<Place, String> {
    let socket = SockRef::from(&fd);
    let is_stream = match socket.r#type() {
        Ok(kind) => kind == Type::STREAM,
        Err(err) if err.raw_os_error() == Some(nix::libc::EBADF) => return Err("closed".into()),
        Err(_) => return Err(what_it_is(fd)),
    };
    let domain = socket.domain().map_err(|err| err.to_string())?;
    if ![Domain::IPV4, Domain::IPV6, Domain::UNIX].contains(&domain) {
        return Err("a socket of another family than IPv4, IPv6 and unix".into());
    }
    if !is_stream {
        return Err("a socket for datagrams or packets".into());
    }
    if !socket.is_listener().map_err(|err| err.to_string())? {
        return Err(match socket.peer_addr() {
            Ok(_) => "a connection (`Accept=yes` passes such)".into(),
            Err(_) => "a socket that does not listen".into(),
        });
    }
    Place::of(fd).map_err(|err: io::Error| err.to_string())
}

fn what_it_is(fd: BorrowedFd<'_>) -> String {
    use std::os::fd::AsRawFd;
    let name = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    name.map_or_else(|_| "no socket".into(), |name| format!("no socket, but {}", name.display()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn parse(variables: &[(&str, &str)]) -> Result<Passed, StartError> {
        let value = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Passed::parse(value, 4711)
    }

    fn why_not(variables: &[(&str, &str)], wanted: impl Into<Inherited>) -> String {
        let passed = parse(variables).unwrap();
        let wanted = wanted.into();
        assert!(passed.find(&wanted).is_empty());
        passed.why_not(&wanted)
    }

    #[test]
    fn descriptors_are_found_by_name_and_by_number() {
        let said = [("LISTEN_PID", "4711"), ("LISTEN_FDS", "3"), ("LISTEN_FDNAMES", "web:web:admin")];
        let mut passed = parse(&said).unwrap();
        assert_eq!(passed.fds.iter().map(|fd| fd.number).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(passed.find(&"web".into()), [0, 1]);
        assert_eq!(passed.find(&2.into()), [2]);
        passed.fds[0].state = State::Taken;
        assert_eq!(passed.find(&"web".into()), [1]);
        assert!(passed.find(&0.into()).is_empty());
        assert!(passed.why_not(&0.into()).contains("another listener"));
    }

    #[test]
    fn descriptors_of_another_process_are_none() {
        let why = why_not(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "1")], 0);
        assert_eq!(why, "LISTEN_FDS is for process 1 (LISTEN_PID), and this is 4711");
        assert_eq!(parse(&[("LISTEN_FDS", "1")]).unwrap().fds.len(), 1, "meant for nobody in particular");
    }

    #[test]
    fn what_was_not_passed_is_told_with_what_was() {
        assert_eq!(why_not(&[], "web"), "LISTEN_FDS is not set");
        assert_eq!(why_not(&[("LISTEN_FDS", "0")], "web"), "LISTEN_FDS is 0");
        let why = why_not(&[("LISTEN_FDS", "4"), ("LISTEN_FDNAMES", "a::b")], "web");
        assert_eq!(why, "4 were passed, and are named `a`, `unknown`, `b`, `unknown`");
        let why = why_not(&[("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "a")], "web");
        assert_eq!(why, "1 was passed, and is named `a`");
        let why = why_not(&[("LISTEN_FDS", "65536")], "web");
        assert!(why.starts_with("65536 were passed") && why.len() < 200, "{} bytes", why.len());
        let Err(err) = parse(&[("LISTEN_FDS", "many")]) else { panic!("many is no number") };
        assert!(err.to_string().contains("LISTEN_FDS=many"), "{err}");
    }

    #[test]
    fn what_is_no_listening_stream_socket_is_told_as_what_it_is() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(look(listener.as_fd()).unwrap().to_string(), addr.to_string());
        let client = TcpStream::connect(addr).unwrap();
        assert!(look(client.as_fd()).unwrap_err().contains("a connection"));
        assert!(look(UdpSocket::bind("127.0.0.1:0").unwrap().as_fd()).unwrap_err().contains("datagrams"));
        let null = fs::File::open("/dev/null").unwrap();
        assert_eq!(look(null.as_fd()).unwrap_err(), "no socket, but /dev/null");
    }
}
