//! A service manager: it opens sockets, and starts programs with them.
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::subject_at;

/// What is said of one socket, which is named `web`.
pub const WEB: &str = "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web";
/// What is said of two of that name.
pub const TWO_WEB: &str = "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=web:web";

/// A program, started as systemd does it: the sockets, two at the most, are descriptors 3 and 4, and `variables` say so.
pub fn start_with(sockets: Vec<OwnedFd>, variables: &str, program: &str, arguments: &[&str]) -> Command {
    // The shell gets them as its standard input and output, and its process becomes the program's.
    let script = format!("exec 3<&0 4>&1 0</dev/null 1>/dev/null; {variables} exec \"$0\" \"$@\"");
    let mut command = subject_at("sh", "-c", &script, &[&[program], arguments].concat());
    for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
        command.env_remove(variable);
    }
    let mut sockets = sockets.into_iter().map(Stdio::from);
    command.stdin(sockets.next().unwrap_or(Stdio::null()));
    command.stdout(sockets.next().unwrap_or(Stdio::null()));
    command
}

/// A listener, as the service manager holds it.
pub fn lender() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    (listener, addr)
}

/// The same socket, for a program.
pub fn lend(listener: &TcpListener) -> OwnedFd {
    listener.try_clone().expect("there are descriptors").into()
}
