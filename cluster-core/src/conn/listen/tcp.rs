//! Binds TCP listeners.
//!
//! Never with SO_REUSEPORT: a second copy of a program is to find the address taken, always.
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::addr::{Addr, Families};
use crate::conn::listen::backlog::Backlog;
use crate::conn::listen::{Opened, Place};
use crate::error::StartError;

/// Which of a name's addresses are bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The first that this machine has, as `std` and axum do it.
    First,
    /// All that this machine has, as actix-web does it.
    All,
}

/// How often another port is tried where the one that the first address got is taken at the second.
const TRIES: usize = 16;

/// Opens listening sockets for an address. At least one comes back.
pub(super) fn open(addr: &Addr, reach: Reach, backlog: Backlog) -> Result<Vec<Opened>, StartError> {
    let candidates = addr.resolve()?;
    let chooses_port = candidates.iter().any(|candidate| candidate.port() == 0);
    let mut tries = if chooses_port { TRIES } else { 1 };
    loop {
        tries -= 1;
        match open_all(&candidates, addr, reach, backlog) {
            Err(StartError::AddressInUse { .. }) if tries > 0 => {}
            other => return other,
        }
    }
}

fn open_all(
    candidates: &[SocketAddr],
    addr: &Addr,
    reach: Reach,
    backlog: Backlog,
) -> Result<Vec<Opened>, StartError> {
    let mut opened: Vec<Opened> = Vec::new();
    let mut failure = None;
    // Of all addresses of one name the same.
    let mut port = None;
    for candidate in candidates {
        let mut candidate = *candidate;
        if let (0, Some(port)) = (candidate.port(), port) {
            candidate.set_port(port);
        }
        match open_one(candidate, addr.families, backlog) {
            Ok((socket, bound)) => {
                port = Some(bound.port());
                opened.push(Opened {
                    listener: socket.into(),
                    place: Place::Tcp(bound),
                    file: None,
                    backlog: Some(backlog),
                });
            }
            // Not the next one then: a second copy of this program would serve where the first happens not to,
            // and clients would reach now the one, now the other.
            Err(err) if err.kind() == io::ErrorKind::AddrInUse => return Err(refused(addr, candidate, err)),
            Err(err) => failure = Some((candidate, err)),
        }
        if reach == Reach::First && !opened.is_empty() {
            break;
        }
    }
    match failure {
        Some((candidate, err)) if opened.is_empty() => Err(refused(addr, candidate, err)),
        _ => Ok(opened),
    }
}

fn open_one(addr: SocketAddr, families: Families, backlog: Backlog) -> io::Result<(Socket, SocketAddr)> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        // Said either way: the default is a sysctl's.
        socket.set_only_v6(families == Families::V6Only)?;
    }
    // Connections of an earlier run in TIME_WAIT do not keep the port (socket(7)); a listener does.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog.for_kernel())?;
    let bound = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
    Ok((socket, bound))
}

/// The error for an address that the kernel refused.
fn refused(written: &Addr, candidate: SocketAddr, source: io::Error) -> StartError {
    let (written, real) = (written.to_string(), candidate.to_string());
    let addr = if written == real { written } else { format!("{written} ({real})") };
    match source.kind() {
        io::ErrorKind::AddrInUse => StartError::AddressInUse { addr },
        io::ErrorKind::PermissionDenied => StartError::Privileged { addr },
        _ => StartError::Bind { addr, source },
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn places(opened: &[Opened]) -> Vec<SocketAddr> {
        let tcp = |opened: &Opened| match opened.place {
            Place::Tcp(addr) => addr,
            Place::Unix(_) => panic!("not of TCP"),
        };
        opened.iter().map(tcp).collect()
    }

    fn parse(addrs: &[&str]) -> Vec<SocketAddr> {
        addrs.iter().map(|addr| addr.parse().unwrap()).collect()
    }

    fn try_all(addrs: &[&str], reach: Reach) -> Result<Vec<Opened>, StartError> {
        open_all(&parse(addrs), &Addr::from("a.name:80"), reach, Backlog::default())
    }

    /// A port that was free a moment ago.
    fn free_port() -> u16 {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    }

    #[test]
    fn of_a_name_with_several_addresses_axum_binds_the_first_and_actix_all() {
        let first = try_all(&["127.0.0.2:0", "127.0.0.1:0"], Reach::First).unwrap();
        assert_eq!(
            places(&first).iter().map(|addr| addr.ip().to_string()).collect::<Vec<_>>(),
            ["127.0.0.2"]
        );
        let all = try_all(&["127.0.0.2:0", "127.0.0.1:0"], Reach::All).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(places(&all)[0].port(), places(&all)[1].port(), "one port");
    }

    #[test]
    fn an_address_of_a_name_that_this_machine_has_not_is_passed_over() {
        // 192.0.2.0/24 is for documentation (RFC 5737).
        for reach in [Reach::First, Reach::All] {
            let opened = try_all(&["192.0.2.1:0", "127.0.0.1:0"], reach).unwrap();
            assert_eq!(places(&opened)[0].ip().to_string(), "127.0.0.1");
        }
        let err = try_all(&["192.0.2.1:0"], Reach::All).unwrap_err().to_string();
        assert!(err.contains("a.name:80 (192.0.2.1:0)"), "{err}");
    }

    #[test]
    fn a_name_of_which_one_address_is_taken_is_taken() {
        let taken = TcpListener::bind("127.0.0.2:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        for reach in [Reach::First, Reach::All] {
            let addrs = [&*format!("127.0.0.2:{port}"), &*format!("127.0.0.1:{port}")];
            let err = try_all(&addrs, reach).unwrap_err();
            assert!(matches!(err, StartError::AddressInUse { .. }), "{err}");
            assert!(err.to_string().contains(&format!("a.name:80 (127.0.0.2:{port})")), "{err}");
        }
    }

    #[test]
    fn the_v6_wildcard_takes_clients_of_both_families_unless_told_otherwise() {
        let port = free_port();
        let addr = Addr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        let both = match open(&addr, Reach::First, Backlog::default()) {
            Err(StartError::Bind { .. }) => return println!("skipped: no IPv6 here"),
            other => other.unwrap(),
        };
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let v4 = Addr::from(("0.0.0.0", port));
        let err = open(&v4, Reach::First, Backlog::default()).unwrap_err();
        assert!(matches!(err, StartError::AddressInUse { .. }), "it has the other family, too: {err}");
        drop(both);
        let v6 = open(&addr.v6_only(), Reach::First, Backlog::default()).unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
        drop((open(&v4, Reach::First, Backlog::default()).unwrap(), v6));
    }
}
