//! The examples do what their first lines say, with 4 workers each.
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use cluster_tests::examples::{folder, start};
use cluster_tests::{Process, signal};

const HELLO: [&str; 4] = ["hello_axum", "hello_axum_await", "hello_actix", "hello_actix_fork"];

/// Sends a request on a new connection.
fn request(addr: SocketAddr, path: &str) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    Ok(stream)
}

/// The body of an answer with status 200.
fn body(mut stream: TcpStream) -> std::io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    if head.starts_with("HTTP/1.1 200") {
        Ok(body.to_owned())
    } else {
        Err(std::io::Error::other(head.to_owned()))
    }
}

fn get(addr: SocketAddr, path: &str) -> std::io::Result<String> {
    body(request(addr, path)?)
}

/// The id in `hello from worker ID (pid PID)`.
fn hello_id(answer: &str) -> u64 {
    let id = answer.strip_prefix("hello from worker ").and_then(|rest| rest.split(' ').next());
    id.and_then(|id| id.parse().ok()).unwrap_or_else(|| panic!("no greeting: {answer:?}"))
}

#[test]
fn each_hello_reaches_four_workers() {
    for name in HELLO {
        let app = start(name);
        let mut ids = HashSet::new();
        // How many requests that takes is nobody's promise: a worker may wait for a processor while others answer.
        cluster_tests::eventually("four workers answer", || {
            ids.insert(hello_id(&get(app.addr(), "/").unwrap()));
            ids == HashSet::from([1, 2, 3, 4])
        });
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn each_hello_survives_a_killed_worker_without_a_failed_request() {
    for name in HELLO {
        let app = start(name);
        let victim = app.workers()[1];
        signal(victim.pid, Signal::SIGKILL).unwrap();
        for request in 0..1000 {
            get(app.addr(), "/").unwrap_or_else(|err| panic!("{name}: request {request}: {err}"));
        }
        let workers = app.wait_for_workers(|workers| workers.len() == 4).unwrap();
        assert_eq!((workers[1].slot, workers[1].id), (1, 5), "{name}");
    }
}

#[test]
fn a_stop_with_nothing_open_is_quick_and_clean() {
    for name in HELLO {
        let app = start(name);
        get(app.addr(), "/").unwrap();
        let stopped = app.stop().unwrap();
        assert_eq!(stopped.code(), Some(0), "{name}");
    }
}

#[test]
fn a_request_of_two_seconds_is_answered_while_the_cluster_stops() {
    for everybody in [false, true] {
        let app = start("crash_restart");
        let slow = request(app.addr(), "/slow?ms=2000").unwrap();
        let mut seen = HashSet::new();
        // Whoever has the slow one has it in hand once every worker has answered another.
        while seen.len() < 4 {
            seen.insert(hello_id(&get(app.addr(), "/").unwrap()));
        }
        let pids = if everybody { app.processes() } else { vec![app.pid()] };
        for pid in pids {
            // A worker may already have gone; the others count.
            let _ = signal(pid, Signal::SIGTERM);
        }
        assert!(body(slow).unwrap().starts_with("2000 ms later"), "everybody: {everybody}");
        let stopped = app.wait().unwrap();
        assert_eq!(stopped.code(), Some(0), "everybody: {everybody}");
    }
}

#[test]
fn a_crash_and_a_segfault_are_followed_by_successors() {
    let app = start("crash_restart");
    for (died, path) in ["/crash", "/segv"].into_iter().enumerate() {
        assert!(get(app.addr(), path).is_err());
        let newest = 5 + died as u64;
        app.wait_for_workers(|now| now.len() == 4 && now.iter().any(|worker| worker.id == newest)).unwrap();
    }
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_core_example_echoes() {
    let app = start("hello_core");
    let mut stream = TcpStream::connect(app.addr()).unwrap();
    stream.write_all(b"is anybody there?").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echo = String::new();
    stream.read_to_string(&mut echo).unwrap();
    assert_eq!(echo, "is anybody there?");
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_policy_example_takes_any_number_of_exits_but_one_code() {
    let app = start("restart_policy");
    for life in 0..20 {
        assert!(get(app.addr(), "/exit?code=1").is_err());
        app.wait_for_workers(|now| now.len() == 4 && now.iter().any(|worker| worker.id == 5 + life)).unwrap();
    }
    assert!(get(app.addr(), "/exit?code=64").is_err());
    app.wait_for_workers(|now| now.len() == 3).unwrap();
    assert!(get(app.addr(), "/").is_ok());
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_preload_example_shares_its_table() {
    let app = start("preload");
    let memory = get(app.addr(), "/mem").unwrap();
    assert!(memory.contains("PSS"), "{memory}");
    assert!(app.stop().unwrap().success());
}

/// Sends a request with a body on a new connection, and takes the answer's.
fn post(addr: SocketAddr, path: &str, text: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let len = text.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: text/plain\r\n\
         Content-Length: {len}\r\n\r\n{text}"
    )?;
    body(stream)
}

/// The list of `message_broadcast`: by worker, what it has heard.
fn heard(addr: SocketAddr) -> Vec<(u64, Vec<String>)> {
    serde_json::from_str(&get(addr, "/heard").unwrap()).unwrap()
}

#[test]
fn what_is_said_to_any_worker_is_heard_by_all_once_and_in_order() {
    for name in ["message_broadcast", "message_broadcast_actix"] {
        let app = start(name);
        // `worker N says it to 3 others`, by text: who has said it, and in which order.
        let mut said: Vec<(String, u64)> = Vec::new();
        for number in 0..1000 {
            let text = format!("text {number}");
            let answer = post(app.addr(), "/say", &text).unwrap();
            let words: Vec<&str> = answer.split_whitespace().collect();
            assert_eq!(words[2..], ["says", "it", "to", "3", "others"], "{name}: {answer}");
            said.push((text, words[1].parse().unwrap()));
        }
        let all = |list: &[(u64, Vec<String>)]| list.iter().all(|(_, texts)| texts.len() >= said.len());
        cluster_tests::eventually("all have heard all", || all(&heard(app.addr())));
        let list = heard(app.addr());
        assert_eq!(
            list.iter().map(|(id, _)| *id).collect::<HashSet<_>>(),
            HashSet::from([1, 2, 3, 4]),
            "{name}"
        );
        for (listener, texts) in list {
            assert_eq!(texts.len(), said.len(), "{name}: worker {listener}");
            for speaker in 1..=4 {
                let of_speaker: Vec<_> =
                    said.iter().filter(|(_, by)| *by == speaker).map(|(text, _)| text).collect();
                let spoken: HashSet<_> = of_speaker.iter().copied().collect();
                let got: Vec<_> = texts.iter().filter(|text| spoken.contains(text)).collect();
                assert!(got == of_speaker, "{name}: worker {listener} of worker {speaker}");
            }
        }
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn what_is_said_to_all_workers_at_once_is_heard_by_all_once_and_in_order() {
    for name in ["message_broadcast", "message_broadcast_actix"] {
        let app = start(name);
        let addr = app.addr();
        let speakers: Vec<_> = (0..8)
            .map(|speaker| {
                std::thread::spawn(move || -> Vec<(u64, String)> {
                    let texts = (0..125).map(|number| format!("{speaker} {number}"));
                    let said = texts.map(|text| {
                        let answer = post(addr, "/say", &text).unwrap();
                        (answer.split(' ').nth(1).unwrap().parse().unwrap(), text)
                    });
                    said.collect()
                })
            })
            .collect();
        let said: Vec<Vec<(u64, String)>> =
            speakers.into_iter().map(|speaker| speaker.join().unwrap()).collect();
        cluster_tests::eventually("all have heard all", || {
            heard(addr).iter().all(|(_, texts)| texts.len() >= 1000)
        });
        for (listener, texts) in heard(addr) {
            assert_eq!(texts.iter().collect::<HashSet<_>>().len(), 1000, "{name}: worker {listener}");
            assert_eq!(texts.len(), 1000, "{name}: worker {listener}");
            // What one client has said to one worker was said one after the other.
            for of_client in &said {
                for worker in 1..=4 {
                    let order = of_client.iter().filter(|(by, _)| *by == worker).map(|(_, text)| text);
                    let at = order.map(|text| texts.iter().position(|heard| heard == text).unwrap());
                    assert!(at.is_sorted(), "{name}: worker {listener} of worker {worker}");
                }
            }
        }
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn the_counter_on_the_primary_side_counts_each_visit_once() {
    let app = start("ask_primary");
    let visits: Vec<u64> = (0..400)
        .map(|_| {
            let answer = get(app.addr(), "/").unwrap();
            let number = answer.strip_prefix("visit ").and_then(|rest| rest.split(',').next());
            number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
        })
        .collect();
    assert_eq!(visits, (1..=400).collect::<Vec<u64>>());
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_timer_on_the_primary_side_ticks_for_all_workers() {
    let app = start("primary_timer");
    let mut ticks = std::collections::HashMap::new();
    cluster_tests::eventually("all workers have heard ten ticks", || {
        let answer = get(app.addr(), "/").unwrap();
        let words: Vec<&str> = answer.split_whitespace().collect();
        let ["worker", id, "has", "heard", "tick", tick] = words[..] else { panic!("{answer:?}") };
        ticks.insert(id.to_owned(), tick.parse::<u64>().unwrap());
        ticks.len() == 4 && ticks.values().all(|tick| *tick >= 10)
    });
    assert!(app.stop().unwrap().success());
}

#[test]
fn state_in_memory_counts_per_worker_and_what_is_asked_for_counts_all() {
    let app = start("actix_state");
    let mut own = std::collections::HashMap::new();
    for number in 1..=200_u64 {
        let answer = get(app.addr(), "/").unwrap();
        let words: Vec<&str> = answer.split_whitespace().collect();
        let ["worker", slot, count, "of", all, "requests"] = words[..] else { panic!("{answer:?}") };
        assert_eq!(all.parse(), Ok(number), "{answer}");
        let before = own.insert(slot.to_owned(), count.parse::<u64>().unwrap());
        assert_eq!(count.parse(), Ok(before.unwrap_or(0) + 1), "{answer}");
    }
    assert_eq!(own.values().sum::<u64>(), 200);
    assert!(own.len() > 1, "{own:?}");
    assert!(app.stop().unwrap().success());
}

/// Opens a WebSocket, says `hello`, and waits for the echo.
fn websocket(addr: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    write!(stream, "GET / HTTP/1.1\r\nHost: test\r\n{head}\r\n{key}\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 101 ") && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{answer}"
    );
    // Text, last frame, masked with 0.
    stream.write_all(b"\x81\x85\0\0\0\0hello").unwrap();
    let mut echo = [0; 7];
    stream.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"\x81\x05hello");
    stream
}

#[test]
fn a_reload_tells_the_clients_of_websockets_to_connect_again() {
    let app = start("actix_websocket");
    let open: Vec<_> = (0..8).map(|_| websocket(app.addr())).collect();
    app.signal(Signal::SIGHUP as i32).unwrap();
    for mut stream in open {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        // A frame that closes, with 1012.
        assert_eq!(rest[0], 0x88, "{rest:?}");
        assert_eq!(rest[2..4], 1012_u16.to_be_bytes(), "{rest:?}");
        websocket(app.addr());
    }
    assert!(app.stop().unwrap().success());
}

#[test]
fn actix_with_tls_makes_itself_a_certificate() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    let folder = cluster_tests::Folder::new("actix-tls");
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let mut command = Command::new(self::folder().join("actix_tls"));
    command.arg("127.0.0.1:0").args([&cert, &key]).env("CLUSTER_WORKERS", "2").env_remove("WEB_CONCURRENCY");
    let app = Process::start(command).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, TcpStream::connect(app.addr()).unwrap());
    write!(stream, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // actix-http closes without a word of TLS.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("hello from worker ") && answer.ends_with("HTTP/1.1\n"), "{answer}");
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_alert_tells_of_exits_that_nobody_asked_for() {
    let alerts = std::env::temp_dir().join(format!("cluster-alerts-{}", std::process::id()));
    let mut command = Command::new(folder().join("exit_alert"));
    command
        .arg("127.0.0.1:0")
        .env("CLUSTER_WORKERS", "4")
        .env_remove("WEB_CONCURRENCY")
        .env("ALERTS", &alerts);
    let app = Process::start(command).unwrap();
    let read = || std::fs::read_to_string(&alerts).unwrap_or_default();
    signal(app.workers()[1].pid, Signal::SIGKILL).unwrap();
    cluster_tests::eventually("there is an alert", || read().ends_with('\n'));
    signal(app.workers()[0].pid, Signal::SIGTERM).unwrap();
    app.wait_for_workers(|now| now.iter().any(|worker| worker.id == 6)).unwrap();
    assert!(app.stop().unwrap().success());
    let said = read();
    assert!(said.starts_with("worker 2 (slot 1, pid ") && said.contains("; signal 9, "), "{said}");
    assert_eq!(said.lines().count(), 1, "what was asked for is no alert: {said}");
    std::fs::remove_file(alerts).unwrap();
}

#[test]
fn an_application_for_operators_is_on_a_unix_socket_beside() {
    let folder = cluster_tests::Folder::new("admin");
    let path = folder.path("admin.sock");
    let mut command = Command::new(self::folder().join("admin_beside"));
    command
        .args(["127.0.0.1:0", path.to_str().unwrap()])
        .env("CLUSTER_WORKERS", "4")
        .env_remove("WEB_CONCURRENCY");
    let app = Process::start(command).unwrap();
    assert!((1..=4).contains(&hello_id(&get(app.addr(), "/").unwrap())));
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    write!(stream, "GET /health HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" of 4 is fine, user "), "{answer}");
    assert!(app.stop().unwrap().success());
    assert!(!path.exists());
}

#[test]
fn https_is_served_with_a_certificate_that_the_example_makes_and_sessions_are_resumed() {
    use cluster_tests::tls::{self, Pair, VERSIONS};
    use std::os::unix::fs::PermissionsExt;

    let files = cluster_tests::Folder::new("https");
    let (cert, key) = (files.path("cert.pem"), files.path("key.pem"));
    let mut command = Command::new(folder().join("axum_tls"));
    command.arg("127.0.0.1:0").args([&cert, &key]);
    command.env("CLUSTER_WORKERS", "4").env_remove("WEB_CONCURRENCY");
    let app = Process::start(command).unwrap();
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let client = std::sync::Arc::new(tls::client(&[&Pair::read(cert, key)], &VERSIONS, &[]));
    let first = tls::get(app.addr(), &client, "/").unwrap();
    assert!(first.text.ends_with("session new\n"), "{}", first.text);
    let mut ids = HashSet::from([hello_id(&first.text)]);
    cluster_tests::eventually("four workers answer", || {
        let answer = tls::get(app.addr(), &client, "/").unwrap();
        assert!(answer.text.ends_with("session resumed\n"), "{}", answer.text);
        ids.insert(hello_id(&answer.text));
        ids.len() == 4
    });
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_c_function_that_segfaults_takes_one_worker_and_no_service() {
    let app = start("ffi_crash");
    let measure = |header: &str| post(app.addr(), "/", header);
    let answer = measure("Host: example").unwrap();
    assert!(answer.starts_with("8 bytes, says worker ") && answer.ends_with("; 1 were measured in all\n"));
    for life in 0..3 {
        assert!(measure("no colon").is_err(), "the worker that had it is gone");
        // Others serve meanwhile.
        assert!(measure("a:b").unwrap().starts_with("1 bytes"));
        app.wait_for_workers(|now| now.len() == 4 && now.iter().any(|worker| worker.id == 5 + life)).unwrap();
    }
    let answer = measure("Host: example").unwrap();
    assert!(answer.ends_with("; 5 were measured in all\n"), "what the dead had counted is there: {answer}");
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_rate_limit_holds_whichever_worker_is_asked() {
    let app = start("rate_limit");
    let begun = std::time::Instant::now();
    let answers: Vec<_> = (0..60).map(|_| get(app.addr(), "/")).collect();
    // One more for each second that it took, and for the one that has begun.
    let most = 10 + begun.elapsed().as_secs() as usize + 1;
    let welcome = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!((10..=most).contains(&welcome), "{welcome}, where {most} were the most");
    assert!(answers[..10].iter().all(Result::is_ok), "ten at once");
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err()).map(ToString::to_string);
    assert!(refused.clone().all(|head| head.starts_with("HTTP/1.1 429") && head.contains("retry-after: ")));
    // Without the primary's side nobody is locked out.
    let director = app.director().unwrap();
    signal(director, Signal::SIGSTOP).unwrap();
    cluster_tests::eventually("it stands still", || cluster_tests::is_stopped(director));
    assert!(get(app.addr(), "/").is_ok());
    signal(director, Signal::SIGCONT).unwrap();
    assert!(app.stop().unwrap().success());
}

#[test]
fn a_price_that_is_set_is_forgotten_by_all_others() {
    let prices = cluster_tests::Folder::new("prices");
    let mut command = Command::new(folder().join("cache_invalidation"));
    command.arg("127.0.0.1:0").env("CLUSTER_WORKERS", "4").env_remove("WEB_CONCURRENCY");
    command.env("PRICES", prices.path(""));
    let app = Process::start(command).unwrap();
    for price in 1..=5 {
        let told = post(app.addr(), "/milk", &price.to_string()).unwrap();
        assert_eq!(told, "3 others forget it, 0 could not be told\n");
        let mut remember = HashSet::new();
        cluster_tests::eventually("all know the new price, and remember it", || {
            let answer = get(app.addr(), "/milk").unwrap();
            if let Some(who) = answer.strip_prefix(&format!("milk: {price}, as worker "))
                && let Some(id) = who.strip_suffix(" remembers\n")
            {
                remember.insert(id.to_owned());
            }
            remember.len() == 4
        });
    }
    assert!(app.stop().unwrap().success());
}

/// Starts one of the programs that were moved over from axum.
fn start_moved(name: &str) -> Process {
    let mut command = Command::new(folder().join("moved_axum"));
    command.args([name, "127.0.0.1:0"]).env("CLUSTER_WORKERS", "2").env_remove("WEB_CONCURRENCY");
    command.env("TITLE", "A title of one's own");
    Process::start(command).unwrap()
}

/// Sends what is said, and takes all of the answer.
fn exchange(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(stream, "{request}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A request as it is sent, with what is to be in the answer.
fn moved_programs() -> Vec<(&'static str, String, Vec<&'static str>)> {
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")
    };
    let post = |path: &str, kind: &str, body: &str| {
        let len = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {len}\r\n\r\n{body}"
        )
    };
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    vec![
        ("hello", get("/", ""), vec!["200 OK", "text/html", "<h1>Hello, World!</h1>"]),
        (
            "json",
            post("/users", json, r#"{"username":"ada"}"#),
            vec!["201", r#"{"id":1337,"username":"ada"}"#],
        ),
        ("json", get("/users/7/posts?page=2", ""), vec!["page 2 of user 7"]),
        ("form", post("/", form, "name=Ada&email=a%40b"), vec!["email=a@b, name=Ada"]),
        ("error", get("/double/21", ""), vec!["200 OK", "42"]),
        ("error", get("/double/x", ""), vec!["500", "Something went wrong: invalid digit"]),
        ("extract", get("/v2/foo", ""), vec!["200 OK", "received request with version V2"]),
        ("extract", get("/v3/foo", ""), vec!["404", "unknown version"]),
        ("middleware", get("/", ""), vec!["401", "x-answered-by: axum"]),
        ("middleware", get("/", "Authorization: Bearer secret\r\n"), vec!["200 OK", "come in"]),
        ("nested", get("/api/v1/items", ""), vec!["items of version 1"]),
        ("nested", get("/nowhere", ""), vec!["404", "nothing to see at /nowhere"]),
        ("config", get("/", ""), vec!["A title of one's own"]),
        ("config", get("/greet", ""), vec!["welcome"]),
        ("client", get("/", ""), vec!["you are 127.0.0.1:"]),
        ("stream", get("/", ""), vec!["transfer-encoding: chunked", "1\n", "5\n"]),
    ]
}

#[test]
fn programs_that_were_moved_over_from_axum_do_what_they_did() {
    for (name, request, wanted) in moved_programs() {
        let app = start_moved(name);
        let answer = exchange(app.addr(), &request);
        for words in wanted {
            assert!(answer.contains(words), "{name}: no `{words}` in {answer}");
        }
        assert!(app.stop().unwrap().success(), "{name}");
    }
}

#[test]
fn notes_are_in_one_database_for_all_workers_and_there_after_a_reload_and_a_crash() {
    let notes = cluster_tests::Folder::new("notes");
    let mut command = Command::new(folder().join("axum_sqlite"));
    command.arg("127.0.0.1:0").env("CLUSTER_WORKERS", "4").env_remove("WEB_CONCURRENCY");
    command.env("NOTES", notes.path("notes.db"));
    let app = Process::start(command).unwrap();
    let mut wanted = String::new();
    let mut note = |text: &str| {
        assert!(post(app.addr(), "/", text).unwrap().ends_with(" has noted it\n"));
        wanted += &format!("{text}\n");
        for _ in 0..8 {
            assert_eq!(get(app.addr(), "/").unwrap(), wanted, "whichever worker is asked");
        }
    };
    note("buy milk");
    signal(app.workers()[0].pid, Signal::SIGKILL).unwrap();
    app.wait_for_workers(|now| now.len() == 4 && now.iter().any(|worker| worker.id == 5)).unwrap();
    note("feed the cat");
    signal(app.pid(), Signal::SIGHUP).unwrap();
    app.wait_for_line("reloaded", 0).unwrap();
    note("call Ada");
    // All at once: they take turns, and none is lost.
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let addr = app.addr();
            scope.spawn(move || {
                (0..5).for_each(|number| drop(post(addr, "/", &format!("{writer} {number}")).unwrap()))
            });
        }
    });
    assert_eq!(get(app.addr(), "/").unwrap().lines().count(), 3 + 40);
    assert!(app.stop().unwrap().success());
}
