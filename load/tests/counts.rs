//! What clients count, of servers that do it right and wrong.
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cluster_load::{Failure, Kind, Load, Tally};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const OK_CLOSE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
const NO_ROOM: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Reads the head of a request; false where there is none.
fn is_asked(client: &mut BufReader<TcpStream>) -> bool {
    let mut line = String::new();
    while client.read_line(&mut line).is_ok_and(|read| read > 0) {
        if line == "\r\n" {
            return true;
        }
        line.clear();
    }
    false
}

/// A server with a way of its own to treat a connection, which says when it has treated so many.
fn server(
    enough: usize,
    treat: impl Fn(&mut BufReader<TcpStream>) + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (done, treated) = mpsc::channel();
    thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            treat(&mut BufReader::new(client.unwrap()));
            if number + 1 == enough {
                let _ = done.send(());
            }
        }
    });
    (addr, treated)
}

/// Asks until the server has treated enough.
fn ask(kind: Kind, server: (SocketAddr, mpsc::Receiver<()>)) -> Tally {
    let load = Load::begin(server.0, kind, 1).unwrap();
    server.1.recv_timeout(Duration::from_secs(20)).expect("it is asked");
    load.end()
}

#[test]
fn answers_on_kept_connections_are_counted_and_connections_that_end_well_are_no_failures() {
    let two_each = |client: &mut BufReader<TcpStream>| {
        for answer in [OK, OK_CLOSE] {
            if is_asked(client) {
                client.get_mut().write_all(answer.as_bytes()).unwrap();
            }
        }
    };
    let tally = ask(Kind::KeepAlive, server(3, two_each));
    assert_eq!(tally.failed(), 0, "{tally}");
    assert!(tally.answered >= 6 && tally.connections >= 3, "{tally}");
    assert!(tally.answered <= tally.connections * 2, "{tally}");
}

#[test]
fn each_request_has_a_connection_of_its_own_where_it_says_close() {
    let one_each = |client: &mut BufReader<TcpStream>| {
        if is_asked(client) {
            client.get_mut().write_all(OK_CLOSE.as_bytes()).unwrap();
        }
    };
    let tally = ask(Kind::Close, server(3, one_each));
    assert_eq!((tally.failed(), tally.asked_again), (0, 0), "{tally}");
    assert_eq!(tally.answered, tally.connections);
}

#[test]
fn a_request_that_is_read_and_not_answered_has_failed() {
    let never = |client: &mut BufReader<TcpStream>| {
        let _ = is_asked(client);
    };
    let tally = ask(Kind::KeepAlive, server(3, never));
    assert_eq!(tally.answered, 0);
    let closed = tally.failures.get(&Failure::Closed).copied().unwrap_or_default();
    assert!(closed >= 3 && closed == tally.failed(), "{tally}");
}

#[test]
fn half_an_answer_is_a_failure() {
    let half = |client: &mut BufReader<TcpStream>| {
        if is_asked(client) {
            client.get_mut().write_all(&OK.as_bytes()[..OK.len() - 1]).unwrap();
        }
    };
    let tally = ask(Kind::KeepAlive, server(3, half));
    assert_eq!(tally.answered, 0);
    assert!(tally.failures.contains_key(&Failure::Closed), "{tally}");
}

#[test]
fn an_answer_that_is_no_answer_is_a_failure() {
    let refuses = |client: &mut BufReader<TcpStream>| {
        if is_asked(client) {
            client.get_mut().write_all(NO_ROOM.as_bytes()).unwrap();
        }
    };
    let tally = ask(Kind::Close, server(2, refuses));
    assert!(tally.failures.get(&Failure::Status).is_some_and(|count| *count >= 2), "{tally}");
}

#[test]
fn a_server_that_is_not_there_is_a_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    for kind in [Kind::KeepAlive, Kind::Http2 { streams: 1 }] {
        let tally = Load::begin(addr, kind, 1).unwrap().end();
        assert_eq!((tally.answered, tally.connections), (0, 0));
        assert!(tally.failures.get(&Failure::Connect).is_some_and(|count| *count > 0), "{tally}");
    }
}
