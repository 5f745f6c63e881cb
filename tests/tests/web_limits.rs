//! Rules of listeners and limits of connections as both adapters have them.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use cluster_tests::counters::Counted;
use cluster_tests::{METHODS, eventually, subject_at};

const WEB: &str = env!("CARGO_BIN_EXE_web");

fn start(framework: &str, method: &str, knobs: &[&str]) -> Counted {
    Counted::launch(subject_at(WEB, framework, method, &[&["127.0.0.1:0"], knobs].concat()))
}

/// With both frameworks, by both methods.
fn each(test: impl Fn(&str, &str)) {
    for framework in ["axum", "actix"] {
        METHODS.into_iter().for_each(|method| test(framework, method));
    }
}

/// Connects and asks on a connection that is kept alive.
fn ask(addr: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
    Ok(stream)
}

/// Waits for the answer; the connection stays open.
fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut heard = Vec::new();
    while !heard.ends_with(b"asks worker 0") && !heard.ends_with(b"asks worker 1") {
        let mut some = [0; 512];
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => heard.extend_from_slice(&some[..count]),
        }
    }
    Ok(())
}

fn served(addr: SocketAddr) -> TcpStream {
    let mut stream = ask(addr).unwrap();
    answer(&mut stream).unwrap();
    stream
}

#[test]
fn each_listener_has_a_rule_of_its_own_in_both_frameworks() {
    each(|framework, method| {
        // The second of both is handed out.
        let knobs = match framework {
            "axum" => ["also=127.0.0.1:0", "rule=http-2:round-robin"],
            _ => ["second=127.0.0.1:0", "rule=http-2:round-robin"],
        };
        let cluster = start(framework, method, &knobs);
        let (shared, handed) = (cluster.address_by("Shared"), cluster.address_by("RoundRobin"));
        (0..10).for_each(|_| drop(served(shared)));
        (0..7).for_each(|_| drop(served(handed)));
        eventually("all are counted", || cluster.sum(|counts| counts.total) == 17);
        assert_eq!(cluster.sum(|counts| counts.claimed), 7, "{framework}, {method}");
        assert!(cluster.app.stop().unwrap().success(), "{framework}, {method}");
    });
}

#[test]
fn a_limit_of_connections_holds_in_both_frameworks_and_who_is_too_many_waits_for_an_end() {
    each(|framework, method| {
        for limit in ["max=2", "max-cluster=4"] {
            let cluster = start(framework, method, &[limit]);
            let addr = cluster.app.addr();
            let mut open: Vec<TcpStream> = (0..4).map(|_| served(addr)).collect();
            eventually("four are open", || cluster.sum(|counts| counts.open) == 4);
            let waiting: Vec<TcpStream> = (0..4).map(|_| ask(addr).unwrap()).collect();
            eventually("four wait", || cluster.counters().1[0].queued == Some(4));
            assert_eq!(cluster.sum(|counts| counts.total), 4, "{framework}, {method}, {limit}");
            for mut stream in waiting {
                drop(open.pop());
                answer(&mut stream).unwrap_or_else(|err| panic!("{framework}, {method}, {limit}: {err}"));
                open.push(stream);
                open.rotate_right(1);
            }
            assert!(cluster.counters().0.iter().all(|counts| counts.open <= 4), "{framework}, {method}");
            drop(open);
            assert!(cluster.app.stop().unwrap().success(), "{framework}, {method}, {limit}");
        }
    });
}

#[test]
fn who_is_too_many_is_reset_in_both_frameworks_where_the_cluster_refuses() {
    each(|framework, method| {
        let cluster = start(framework, method, &["max=1", "refuse"]);
        let addr = cluster.app.addr();
        let open: Vec<TcpStream> = (0..2).map(|_| served(addr)).collect();
        eventually("two are open", || cluster.sum(|counts| counts.open) == 2);
        for _ in 0..5 {
            let kind = ask(addr).and_then(|mut stream| answer(&mut stream)).unwrap_err().kind();
            let reset = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
            assert!(reset.contains(&kind), "{framework}, {method}: {kind}");
        }
        eventually("they are counted", || cluster.counters().1[0].refused == 5);
        drop(open);
        eventually("there is room again", || ask(addr).and_then(|mut stream| answer(&mut stream)).is_ok());
        assert!(cluster.app.stop().unwrap().success(), "{framework}, {method}");
    });
}

#[test]
fn new_connections_come_no_faster_than_they_may_in_both_frameworks() {
    each(|framework, method| {
        let cluster = start(framework, method, &["rate=50"]);
        let begun = Instant::now();
        // Up to 10 at once, then 100 per second of both workers.
        let all: Vec<TcpStream> = (0..60).map(|_| ask(cluster.app.addr()).unwrap()).collect();
        all.into_iter().for_each(|mut stream| answer(&mut stream).unwrap());
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(450), "{framework}, {method}: {took:?}");
        assert!(cluster.app.stop().unwrap().success(), "{framework}, {method}");
    });
}
