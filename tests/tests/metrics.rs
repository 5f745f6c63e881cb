//! Metrics, health and counters: of the whole cluster, from whichever worker is asked.
use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use cluster_tests::{Folder, METHODS, Process, eventually, is_stopped, signal, subject_at};

const METERED: &str = env!("CARGO_BIN_EXE_metered");

fn start(framework: &str, method: &str, workers: usize, knobs: &[&str]) -> Process {
    let mut command = subject_at(METERED, framework, method, &[&["127.0.0.1:0"], knobs].concat());
    command.env("CLUSTER_WORKERS", workers.to_string());
    Process::start(command).unwrap()
}

/// With both frameworks, by both methods.
fn each(test: impl Fn(&str, &str)) {
    for framework in ["axum", "actix"] {
        METHODS.into_iter().for_each(|method| test(framework, method));
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Asks on a connection that is kept alive, and takes the whole answer: its status, head and body.
fn ask(stream: &mut (impl Read + Write), path: &str) -> io::Result<(u16, String, String)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    let mut heard = Vec::new();
    loop {
        let mut some = [0; 4096];
        match stream.read(&mut some)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => heard.extend_from_slice(&some[..count]),
        }
        let text = String::from_utf8_lossy(&heard);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() >= length.parse::<usize>().unwrap() {
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
            return Ok((status, head.clone(), body.to_owned()));
        }
    }
}

/// Asks on a connection of its own.
fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let (status, _, body) = ask(&mut connect(addr), path).unwrap();
    (status, body)
}

fn sound(addr: SocketAddr, path: &str) -> String {
    let (status, body) = get(addr, path);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The samples that a scrape shows, by name and labels.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(addr: SocketAddr) -> Self {
        let text = sound(addr, "/metrics");
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.parse().unwrap())
        });
        Self(samples.collect())
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// Of all slots together, or states, or whatever a family is divided by.
    fn sum(&self, family: &str) -> f64 {
        let start = format!("{family}{{");
        let of_family = self.0.iter().filter(|(series, _)| *series == family || series.starts_with(&start));
        of_family.map(|(_, value)| value).sum()
    }
}

#[test]
fn a_scrape_of_any_worker_shows_all_workers() {
    each(|framework, method| {
        let app = start(framework, method, 4, &[]);
        // More than workers, so that each is asked.
        for _ in 0..20 {
            let scrape = Scrape::of(app.addr());
            for slot in 0..4 {
                let serves = format!("cluster_worker_state{{slot=\"{slot}\",state=\"serving\"}}");
                assert_eq!(scrape.value(&serves), Some(1.0), "{framework} {method}");
            }
            assert_eq!(scrape.value("cluster_workers_wanted"), Some(4.0));
            assert_eq!(scrape.value("cluster_workers_ready"), Some(4.0));
            let queue = format!("cluster_listener_queue_length{{listener=\"{}\",number=\"0\"}}", app.addr());
            assert!(scrape.value(&queue).is_some(), "{:?}", scrape.0);
        }
        let (_, head, _) = ask(&mut connect(app.addr()), "/metrics").unwrap();
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        // What is measured after a while.
        eventually("memory and delays were measured", || {
            let scrape = Scrape::of(app.addr());
            let families = ["cluster_worker_private_memory_bytes", "cluster_worker_loop_delay_seconds"];
            families.iter().all(|family| {
                (0..4).all(|slot| scrape.value(&format!("{family}{{slot=\"{slot}\"}}")).is_some())
            })
        });
        assert!(app.stop().unwrap().success());
    });
}

#[test]
fn requests_are_counted_each_once_also_those_of_workers_that_were_killed() {
    each(|framework, method| {
        let app = start(framework, method, 2, &[]);
        let mut asked = 0;
        for round in 0..3 {
            for _ in 0..50 {
                sound(app.addr(), "/livez");
                asked += 1;
            }
            eventually("all are counted", || {
                let scrape = Scrape::of(app.addr());
                // Not itself: that is not answered yet.
                let counted = scrape.sum("cluster_worker_requests_total");
                assert!(counted <= f64::from(asked), "{framework} {method}: {counted} of {asked}");
                asked += 1;
                counted == f64::from(asked - 1)
            });
            let victim = app.workers()[round % 2];
            signal(victim.pid, Signal::SIGKILL).unwrap();
            app.wait_for_workers(|now| now.len() == 2 && now.iter().all(|worker| worker.id != victim.id))
                .unwrap();
        }
        let scrape = Scrape::of(app.addr());
        assert_eq!(scrape.value("cluster_worker_exits_total{reason=\"crashed\"}"), Some(3.0));
        assert_eq!(scrape.value("cluster_worker_restarts_total{slot=\"0\"}"), Some(2.0));
        assert_eq!(scrape.value("cluster_worker_restarts_total{slot=\"1\"}"), Some(1.0));
        assert!(app.stop().unwrap().success());
    });
}

#[test]
fn what_is_in_flight_and_open_is_shown_and_what_a_client_gives_up_is_not() {
    each(|framework, method| {
        let app = start(framework, method, 2, &[]);
        let held: Vec<_> = (0..5)
            .map(|_| {
                let mut stream = connect(app.addr());
                write!(stream, "GET /hold HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
                stream
            })
            .collect();
        let in_flight = || Scrape::of(app.addr()).sum("cluster_worker_requests_in_flight");
        // And the scrape itself.
        eventually("all are in flight", || in_flight() == 6.0);
        assert!(Scrape::of(app.addr()).sum("cluster_worker_connections_open") >= 6.0);
        if framework == "axum" {
            // hyper drops the handler of a client that has left; actix-http lets it come to its end.
            drop(held);
            eventually("none is", || in_flight() == 1.0);
        }
        assert!(app.stop().unwrap().success(), "{framework} {method}");
    });
}

#[test]
fn a_counter_has_what_all_have_added_killed_workers_and_old_generations_included() {
    each(|framework, method| {
        let app = start(framework, method, 3, &["director"]);
        let mut seen = HashSet::new();
        let mut hits = 0;
        let mut hit = |count| {
            for _ in 0..count {
                seen.insert(sound(app.addr(), "/hit/hits"));
                hits += 1;
            }
            assert_eq!(sound(app.addr(), "/sum/hits"), hits.to_string(), "{framework} {method}");
        };
        hit(100);
        for worker in app.workers() {
            signal(worker.pid, Signal::SIGKILL).unwrap();
        }
        app.wait_for_workers(|now| now.len() == 3 && now.iter().all(|worker| worker.id > 3)).unwrap();
        hit(100);
        signal(app.pid(), Signal::SIGHUP).unwrap();
        app.wait_for_line("reloaded", 0).unwrap();
        hit(100);
        assert!(seen.len() >= 4, "several have counted: {seen:?}");
        eventually("a scrape shows it", || Scrape::of(app.addr()).value("hits_total") == Some(300.0));
        let scrape = Scrape::of(app.addr());
        assert_eq!(scrape.value("cluster_generation"), Some(2.0));
        assert_eq!(scrape.value("cluster_reloads_total{result=\"done\"}"), Some(1.0));
        // The director was replaced, too, and has counted again.
        eventually("the primary's side counts", || {
            Scrape::of(app.addr()).value("by_director_total") == Some(14.0)
        });
        assert!(app.stop().unwrap().success(), "{framework} {method}");
    });
}

#[test]
fn invariant_8_a_counter_with_a_name_that_is_none_is_refused_and_shown_to_nobody() {
    each(|framework, method| {
        let app = start(framework, method, 1, &[]);
        let long = format!("/hit/{}", "x".repeat(65));
        let names = ["/hit/2fast", "/hit/a-b", "/hit/cluster_hits", "/hit/hits_total", "/hit/%7Bx%7D", &long];
        for path in names {
            let (status, why) = get(app.addr(), path);
            assert_eq!(status, 500, "{framework} {method}: {path}");
            assert!(why.contains("a counter cannot be called"), "{why}");
        }
        for number in 0..256 {
            sound(app.addr(), &format!("/hit/c{number}"));
        }
        let (status, why) = get(app.addr(), "/hit/one_more");
        assert!(status == 500 && why.contains("256"), "{why}");
        assert_eq!(sound(app.addr(), "/sum/c255"), "1");
        let scrape = Scrape::of(app.addr());
        assert_eq!(scrape.0.keys().filter(|series| !series.starts_with("cluster_")).count(), 256);
        assert!(app.stop().unwrap().success());
    });
}

#[test]
fn a_cluster_that_drains_is_not_ready_and_one_that_reloads_is() {
    each(|framework, method| {
        let app = start(framework, method, 2, &[]);
        assert_eq!(get(app.addr(), "/readyz"), (200, "ready\n".to_owned()), "{framework} {method}");
        // It belongs to a worker that drains, alone.
        let mut kept = connect(app.addr());
        assert_eq!(ask(&mut kept, "/readyz").unwrap().0, 200);
        signal(app.pid(), Signal::SIGHUP).unwrap();
        loop {
            let (status, head, body) = ask(&mut kept, "/readyz").unwrap();
            assert_eq!((status, body.as_str()), (200, "ready\n"), "{framework} {method}");
            if head.contains("connection: close") {
                break;
            }
        }
        app.wait_for_line("reloaded", 0).unwrap();
        // One that has just been told to leave may still take what comes, and closes after the first answer.
        for old in 1..=2 {
            app.wait_for_line(&format!("exited {old}"), 0).unwrap();
        }
        let mut kept = connect(app.addr());
        assert_eq!(ask(&mut kept, "/readyz").unwrap().0, 200);
        signal(app.pid(), Signal::SIGTERM).unwrap();
        loop {
            let (status, head, body) = ask(&mut kept, "/readyz").unwrap();
            if status == 503 {
                assert!(head.contains("connection: close"), "{framework} {method}: {head}");
                assert_eq!(body, "draining\n");
                break;
            }
            assert_eq!((status, body.as_str()), (200, "ready\n"), "it had not heard yet");
        }
        drop(kept);
        assert!(app.wait().unwrap().success(), "{framework} {method}");
    });
}

#[test]
fn a_worker_whose_primary_is_gone_is_not_ready_and_has_no_metrics() {
    each(|framework, method| {
        let mut app = start(framework, method, 1, &[]);
        let mut kept = connect(app.addr());
        assert_eq!(ask(&mut kept, "/metrics").unwrap().0, 200);
        signal(app.pid(), Signal::SIGKILL).unwrap();
        app.wait_for_primary().unwrap();
        loop {
            let (status, _, body) = ask(&mut kept, "/readyz").unwrap();
            if status == 503 {
                assert_eq!(body, "draining\n", "{framework} {method}");
                break;
            }
        }
        drop(kept);
        app.wait_for_no_process().unwrap();
    });
}

#[test]
fn a_worker_is_not_ready_before_it_says_so() {
    each(|framework, method| {
        let folder = Folder::new(&format!("ready-{framework}-{method}"));
        let path = folder.path("app.sock");
        let place = format!("unix:{}", path.display());
        let mut command = subject_at(METERED, framework, method, &[&place, "waits"]);
        command.env("CLUSTER_WORKERS", "1");
        let app = Process::launch(command).unwrap();
        let mut stream = None;
        eventually("it listens", || {
            stream = UnixStream::connect(&path).ok();
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (status, _, body) = ask(&mut stream, "/readyz").unwrap();
        assert_eq!((status, body.as_str()), (503, "not ready yet\n"), "{framework} {method}");
        assert_eq!(ask(&mut stream, "/livez").unwrap().0, 200);
        assert_eq!(ask(&mut stream, "/ready").unwrap().0, 200);
        assert_eq!(ask(&mut stream, "/readyz").unwrap().0, 200);
        drop(stream);
        assert!(app.stop().unwrap().success(), "{framework} {method}");
    });
}

#[test]
fn while_the_primary_is_stopped_a_scrape_fails_in_time_and_the_next_one_works() {
    let app = start("axum", "fork", 1, &[]);
    signal(app.pid(), Signal::SIGSTOP).unwrap();
    eventually("it stands still", || is_stopped(app.pid()));
    let (status, why) = get(app.addr(), "/metrics");
    assert!(status == 503 && why.contains("5s"), "{why}");
    // Workers do without it.
    assert_eq!(get(app.addr(), "/readyz").0, 200);
    signal(app.pid(), Signal::SIGCONT).unwrap();
    assert!(Scrape::of(app.addr()).value("cluster_workers_ready") == Some(1.0));
    assert!(app.stop().unwrap().success());
}
