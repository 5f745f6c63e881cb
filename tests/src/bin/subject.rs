//! The program under test: `subject fork|await ADDR [KNOB..]`. It answers one line per connection. `ADDR` is one of TCP,
//! `unix:PATH`, `fd:NAME` or `fd:NAME=ADDR`, where `NAME` may be a number.
//!
//! Knobs turn on what a test wants to see, good and bad; the words of the line protocol are in `answer`.
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::process::{Child, Command, ExitCode};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use std::{env, fs, io, thread};

use cluster_core::{
    Addr, BoxError, Builder, Cluster, ClusterHandle, Connection, Error, Inherited, Overload, Ready, Restart,
    Scheduling, Uds, Worker,
};
use futures::StreamExt;
use rand::Rng;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// Opened in `main`, used in every worker.
static LOG: OnceLock<fs::File> = OnceLock::new();

/// How often this worker was told to open its log files anew.
static REOPENED: AtomicU64 = AtomicU64::new(0);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: subject fork|await ADDR [KNOB..]");
        return ExitCode::from(2);
    };
    let knobs = Knobs(knobs.to_vec());
    // What every program does before its cluster: thread-local generators are in use.
    let _: u64 = rand::rng().random();
    let _ = RandomState::new().hash_one(1);
    if let Err(err) = prepare(&knobs) {
        eprintln!("subject: {err}");
        return ExitCode::from(3);
    }
    let child = knobs.has("own-child").then(own_child).flatten();
    let mut ended = run(method, addr, &knobs);
    if let Some(mut child) = child {
        eprintln!("the child of main: {:?}", child.wait().map(|status| status.code()));
    }
    if let Some(file) = knobs.value("again-when").filter(|_| ended.is_err() && cluster_core::is_primary()) {
        eprintln!("the first: {ended:?}");
        while !fs::exists(file).is_ok_and(|there| there) {
            thread::sleep(Duration::from_millis(2));
        }
        ended = run(method, addr, &knobs);
    }
    if cluster_core::is_primary() && knobs.has("twice") {
        let again = Cluster::builder().worker(|_| async { Ok(()) }).run();
        eprintln!("the second: {again:?}");
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

fn run(method: &str, addr: &str, knobs: &Knobs) -> Result<(), Error> {
    match (method, cluster(addr, knobs)?) {
        ("fork", cluster) => run_fork(cluster, knobs),
        (_, cluster) => run_await(cluster, knobs),
    }
}

/// Settings of one run, as words on the command line: `name` or `name=value`.
#[derive(Clone)]
struct Knobs(Vec<String>);

impl Knobs {
    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|knob| knob == name)
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|knob| knob.strip_prefix(name)?.strip_prefix('='))
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        self.value(name).map(|value| Duration::from_millis(value.parse().expect("a number of milliseconds")))
    }
}

/// What a `main` may have done before its cluster.
fn prepare(knobs: &Knobs) -> io::Result<()> {
    if let Some(path) = knobs.value("log") {
        let file = fs::File::options().append(true).create(true).open(path)?;
        let _ = LOG.set(file);
    }
    if let Some(folder) = knobs.value("chdir") {
        env::set_current_dir(folder)?;
    }
    if knobs.has("threads") {
        thread::Builder::new().name("idle-one".into()).spawn(|| thread::sleep(Duration::from_secs(600)))?;
    }
    if knobs.has("joined-thread") {
        thread::spawn(|| ()).join().expect("it does nothing");
    }
    if knobs.has("tokio") {
        drop(tokio::runtime::Builder::new_current_thread().enable_all().build()?);
    }
    if let Some(code) = knobs.value("exit-unless-primary").filter(|_| !cluster_core::is_primary()) {
        std::process::exit(code.parse().expect("a code"));
    }
    if knobs.has("print-role") {
        println!("role {:?}", cluster_core::role());
    }
    if knobs.has("worker-in-main") {
        cluster_core::worker();
    }
    Ok(())
}

fn cluster(addr: &str, knobs: &Knobs) -> Result<Ready, Error> {
    let mut builder = Cluster::builder();
    if let Some(workers) = knobs.value("workers") {
        builder = builder.workers(workers.parse().expect("a number of workers"));
    }
    if let Some(timeout) = knobs.millis("drain") {
        builder = builder.drain_timeout(timeout);
    }
    if let Some(timeout) = knobs.millis("boot") {
        builder = builder.boot_timeout(timeout);
    }
    if let Some(hang) = knobs.value("hang") {
        builder = builder.hang_timeout(if hang == "off" { None } else { knobs.millis("hang") });
    }
    if knobs.has("for-ever") {
        let restart = Restart::default().delay(Duration::ZERO, Duration::MAX).limit(1_000_000, Duration::MAX);
        builder = builder.drain_timeout(Duration::MAX).boot_timeout(Duration::MAX).restart(restart);
    }
    if knobs.has("fast") {
        // Restarts as fast as tests can kill.
        builder = builder.restart(
            Restart::default().delay(Duration::ZERO, Duration::ZERO).limit(1_000_000, Duration::from_secs(1)),
        );
    }
    if let Some(delay) = knobs.millis("restart-delay") {
        // The first restart of a slot is at once all the same.
        let restart = Restart::default().delay(delay, delay).limit(1_000_000, Duration::from_secs(1));
        builder = builder.restart(restart);
    }
    if knobs.has("never") {
        builder = builder.restart(Restart::never());
    }
    if knobs.has("wait-for-ready") {
        builder = builder.wait_for_ready();
    }
    if knobs.has("runtime") {
        builder = builder.runtime(cluster_core::Runtime::multi_thread(2));
    }
    if knobs.has("quiet") {
        builder = builder.quiet();
    }
    if let Some(rule) = knobs.value("scheduling") {
        builder = builder.scheduling(scheduling(rule));
    }
    builder = limit(builder, knobs);
    if knobs.has("director") {
        let knobs = knobs.clone();
        builder = builder.primary(move |cluster| direct(cluster, knobs));
    }
    let builder = listen(builder, addr, knobs)?;
    let knobs = knobs.clone();
    if knobs.has("factory-panics") {
        return Ok(
            builder.worker(move |_| -> std::future::Ready<Result<(), BoxError>> { panic!("no luck today") })
        );
    }
    Ok(builder.worker(move |worker| serve(worker, knobs)))
}

/// How many connections there are at a time.
fn limit(mut builder: Builder, knobs: &Knobs) -> Builder {
    let number = |name: &str| knobs.value(name).map(|value| value.parse().expect("a number"));
    if let Some(most) = number("max") {
        builder = builder.max_connections(most);
    }
    if let Some(most) = number("max-cluster") {
        builder = builder.max_cluster_connections(most);
    }
    if let Some(rate) = number("rate") {
        builder = builder.max_connection_rate(rate as u32);
    }
    if knobs.has("refuse") {
        builder = builder.overload(Overload::Refuse);
    }
    builder
}

fn listen(mut builder: Builder, addr: &str, knobs: &Knobs) -> Result<Builder, Error> {
    if let Some(path) = knobs.value("listen-std-uds") {
        let listener = std::os::unix::net::UnixListener::bind(path).expect("the path is free");
        return Ok(builder.listen_uds("line", listener));
    }
    if let Some(folder) = knobs.value("long-paths") {
        let paths = (0..40).map(|number| format!("{folder}/{number}"));
        builder = paths.fold(builder, |builder, path| builder.bind_uds(&path, &path));
    }
    if knobs.has("listen-std") {
        let listener = std::net::TcpListener::bind(addr).expect("the address is free");
        return Ok(builder.listen("line", listener));
    }
    if knobs.has("bind-tcp") {
        return match cluster_core::bind_tcp(addr) {
            Ok(listener) => Ok(builder.listen("line", listener)),
            Err(err) => panic!("bind_tcp: {err}"),
        };
    }
    if knobs.has("same-name") {
        builder = builder.bind("line", "127.0.0.1:0");
    }
    if knobs.has("second") {
        builder = builder.bind("second", addr);
    }
    if let Some(rule) = knobs.value("second-by") {
        builder = builder.bind("second", addr).listener_scheduling("second", scheduling(rule));
    }
    if let Some(listener) = knobs.value("rule-for") {
        builder = builder.listener_scheduling(listener, Scheduling::RoundRobin);
    }
    Ok(bind(builder, addr, knobs))
}

fn scheduling(rule: &str) -> Scheduling {
    match rule {
        "shared" => Scheduling::Shared,
        "round-robin" => Scheduling::RoundRobin,
        "least" => Scheduling::LeastConnections,
        _ => panic!("what is {rule}?"),
    }
}

fn bind(builder: Builder, addr: &str, knobs: &Knobs) -> Builder {
    let backlog = knobs.value("backlog").map(|value| value.parse().expect("a number of connections"));
    let tcp = |addr: &str| {
        let addr = if knobs.has("v6-only") { Addr::from(addr).v6_only() } else { Addr::from(addr) };
        backlog.map_or(addr.clone(), |backlog| addr.backlog(backlog))
    };
    if let Some(path) = addr.strip_prefix("unix:") {
        let mut uds = Uds::new(path);
        if let Some(mode) = knobs.value("mode") {
            uds = uds.mode(u32::from_str_radix(mode, 8).expect("a mode"));
        }
        let uds = backlog.map_or(uds.clone(), |backlog| uds.backlog(backlog));
        if knobs.has("bind-uds") {
            return builder.listen_uds("line", cluster_core::bind_uds(uds).expect("the path is free"));
        }
        return builder.bind_uds("line", uds);
    }
    let passed = |name: &str| name.parse().map_or_else(|_| Inherited::from(name), |nth: usize| nth.into());
    match addr.strip_prefix("fd:").map(|passed| passed.split_once('=').ok_or(passed)) {
        Some(Ok((name, addr))) => builder.inherit_or_bind("line", passed(name), tcp(addr)),
        Some(Err(name)) => builder.inherit("line", passed(name)),
        None => builder.bind("line", tcp(addr)),
    }
}

fn run_fork(cluster: Ready, knobs: &Knobs) -> Result<(), Error> {
    if knobs.has("inside-runtime") {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        return runtime.block_on(async { cluster.run() });
    }
    cluster.run()
}

fn run_await(cluster: Ready, knobs: &Knobs) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let file = knobs.value("drop-when").filter(|_| cluster_core::is_primary()).map(str::to_owned);
    runtime.expect("a runtime").block_on(async move {
        let Some(file) = file else { return cluster.await };
        tokio::select! {
            ended = cluster.into_future() => ended,
            () = appears(&file) => Ok(()),
        }
    })
}

/// Waits for a file.
async fn appears(path: &str) {
    while !fs::exists(path).is_ok_and(|there| there) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The primary's side.
async fn direct(cluster: ClusterHandle, knobs: Knobs) {
    // One write: `eprintln!` with arguments is several, and another process's line may come between them.
    let role = format!(
        "director: {:?}, primary {}, worker {}\n",
        cluster_core::role(),
        cluster_core::is_primary(),
        cluster_core::try_worker().is_some()
    );
    eprint!("{role}");
    if knobs.has("director-exits") {
        std::process::exit(17);
    }
    if knobs.has("director-blocks") {
        thread::sleep(Duration::from_secs(600));
    }
    if let Some(path) = knobs.value("status-at") {
        tokio::spawn(cluster_tests::counters::tell(cluster.clone(), path.to_owned()));
    }
    cluster.stopping().await;
    eprintln!("director: told to stop");
}

/// A child that the primary's `main` starts, and waits for at its end.
fn own_child() -> Option<Child> {
    let mut command = Command::new("sh");
    cluster_core::is_primary().then(|| command.args(["-c", "exit 7"]).spawn().expect("there is a shell"))
}

async fn serve(worker: Worker, knobs: Knobs) -> Result<(), BoxError> {
    let mut moved = worker.reopen_logs();
    tokio::spawn(async move {
        while moved.next().await.is_some() {
            REOPENED.fetch_add(1, Ordering::Relaxed);
        }
    });
    if knobs.has("factory-fails") {
        return Err("no database at db.example".into());
    }
    if knobs.has("blocking-task") {
        tokio::task::spawn_blocking(|| thread::sleep(Duration::from_secs(600)));
    }
    if knobs.has("retires") {
        worker.retire();
        std::future::pending::<()>().await;
    }
    if knobs.has("returns") {
        worker.ready();
        return Ok(());
    }
    if knobs.has("factory-hangs") {
        std::future::pending::<()>().await;
    }
    if knobs.has("factory-exits") {
        eprintln!("configuration missing");
        std::process::exit(17);
    }
    if let Some(path) = knobs.value("ready-when") {
        appears(path).await;
        worker.ready();
    }
    let line = take(worker.clone(), "line", knobs.clone());
    if knobs.value("second-by").is_some() {
        futures::future::try_join(line, take(worker, "second", knobs)).await.map(|_| ())
    } else {
        line.await
    }
}

async fn take(worker: Worker, listener: &str, knobs: Knobs) -> Result<(), BoxError> {
    let mut acceptor = worker.acceptor(listener)?;
    let one_at_a_time = listener == "second" && knobs.has("second-one-at-a-time");
    while let Some(connection) = acceptor.accept().await {
        let (current, knobs) = (worker.clone(), knobs.clone());
        if one_at_a_time {
            let _ = converse(current, connection, knobs).await;
            continue;
        }
        worker.spawn(async move {
            // A client that went away is no matter of this test.
            let _ = converse(current, connection, knobs).await;
        });
    }
    Ok(())
}

async fn converse(worker: Worker, connection: Connection, knobs: Knobs) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    if knobs.has("greets") {
        let who = format!("{} {} {}\n", worker.id(), worker.slot(), worker.pid());
        connection.write_all(who.as_bytes()).await?;
    }
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let answer = answer(&worker, line.trim_end(), &knobs, &mut connection).await;
    connection.write_all(format!("{answer}\n").as_bytes()).await?;
    if knobs.has("only-closes") {
        // The client sees the end when nobody else has the connection.
        return Ok(());
    }
    connection.shutdown().await
}

async fn answer(
    worker: &Worker,
    line: &str,
    knobs: &Knobs,
    connection: &mut BufReader<Connection>,
) -> String {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = || rest.parse::<u64>().unwrap_or(0);
    match word {
        "who" => format!("{} {} {}", worker.id(), worker.slot(), worker.pid()),
        "slots" => worker.slots().to_string(),
        "abort" => std::process::abort(),
        "panic" => panic!("said the client"),
        "exit" => std::process::exit(number() as i32),
        "stack" => overflow(number()).to_string(),
        "slow" => {
            tokio::time::sleep(Duration::from_millis(number())).await;
            format!("late {}", worker.id())
        }
        "block" => {
            thread::sleep(Duration::from_millis(number()));
            "unblocked".to_owned()
        }
        "random" => rand::rng().random::<u64>().to_string(),
        "hash" => HashMap::<u8, u8>::new().hasher().hash_one(1).to_string(),
        "retire" => {
            worker.retire();
            "leaving".to_owned()
        }
        "stderr" => {
            eprintln!("{rest}");
            "said".to_owned()
        }
        "stdout" => {
            println!("{rest}");
            "said".to_owned()
        }
        "relog" => match fs::File::create(rest).map(nix::unistd::dup2_stderr) {
            Ok(Ok(())) => "logging there".to_owned(),
            other => format!("{other:?}"),
        },
        "noise" => {
            let noise = format!("{}\n", "n".repeat(1023));
            (0..number()).for_each(|_| drop(io::stderr().write_all(noise.as_bytes())));
            "said".to_owned()
        }
        "log" => match LOG.get().map(|mut log| log.write_all(format!("{rest}\n").as_bytes())) {
            Some(Ok(())) => "logged".to_owned(),
            other => format!("{other:?}"),
        },
        "reopened" => REOPENED.load(Ordering::Relaxed).to_string(),
        "when-reopened" => {
            while REOPENED.load(Ordering::Relaxed) < number() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            "now".to_owned()
        }
        "orphan" => orphan(rest),
        "burn-descriptors" => burn_descriptors(worker),
        "send-descriptors" => send_descriptors(connection).await,
        "env" => env::var(rest).unwrap_or_else(|err| err.to_string()),
        "child-env" => match Command::new("printenv").arg(rest).output() {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
            Ok(_) => "not there".to_owned(),
            Err(err) => err.to_string(),
        },
        "garbage" => garbage(),
        "child" => child(knobs),
        "child-limit" => child_limit(Command::new("sh").args(["-c", "ulimit -Sn"])),
        "child-limit-restored" => {
            child_limit(cluster_core::restore_limits(Command::new("sh").args(["-c", "ulimit -Sn"])))
        }
        "stray" => stray(number()),
        "until-end" => {
            let mut rest = Vec::new();
            let read = connection.read_to_end(&mut rest).await;
            format!("{read:?}")
        }
        "write-to-reset" => write_to_reset(connection).await,
        _ => format!("what is {line:?}?"),
    }
}

/// Leaves a process whose parent has ended, and which ends itself soon: its pid.
fn orphan(prefix: &str) -> String {
    let script = format!("{prefix} sleep 0.1 >/dev/null & echo $!");
    match Command::new("sh").args(["-c", &script]).output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(err) => err.to_string(),
    }
}

/// Writes to a client that has gone, until the kernel says so.
async fn write_to_reset(connection: &mut BufReader<Connection>) -> String {
    loop {
        if let Err(err) = connection.get_mut().write_all(&[b'x'; 4096]).await {
            eprintln!("the client is gone: {err}");
            return err.to_string();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Uses up all descriptors of this worker for half a second.
fn burn_descriptors(worker: &Worker) -> String {
    let mut burnt = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        burnt.push(file);
    }
    let count = burnt.len();
    worker.spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(burnt);
    });
    count.to_string()
}

/// Sends descriptors until the kernel lets this user have no more on their way, which are taken when the client ends.
async fn send_descriptors(connection: &mut BufReader<Connection>) -> String {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    use std::os::fd::AsRawFd;
    // What is on its way is for as long as these are open.
    let mut pairs = Vec::new();
    let refused = 'all: loop {
        let pair = std::os::unix::net::UnixStream::pair().expect("there are descriptors enough");
        pairs.push(pair);
        let (ours, theirs) = pairs.last().expect("it was pushed");
        ours.set_nonblocking(true).expect("it is a socket");
        let file = [theirs.as_raw_fd()];
        for _ in 0..100 {
            let descriptors = [ControlMessage::ScmRights(&file)];
            let data = [io::IoSlice::new(b"x")];
            match sendmsg::<()>(ours.as_raw_fd(), &data, &descriptors, MsgFlags::empty(), None) {
                Ok(_) => {}
                Err(nix::errno::Errno::EAGAIN) => break,
                Err(err) => break 'all err,
            }
        }
    };
    let _ = connection.write_all(format!("{refused}\n").as_bytes()).await;
    let mut rest = Vec::new();
    let read = connection.read_to_end(&mut rest).await;
    format!("{read:?}")
}

/// Sends what is no message on every socket there is, the line to the primary among them.
fn garbage() -> String {
    use nix::sys::socket::{MsgFlags, send};
    let sent = (3..64).filter(|fd| send(*fd, &[0xff; 99], MsgFlags::MSG_NOSIGNAL).is_ok()).count();
    format!("{sent} sockets")
}

/// Runs this very program as a child that wants to be an ordinary one.
fn child(knobs: &Knobs) -> String {
    let program = env::current_exe().expect("a program has a path");
    let addr = knobs.value("child-addr").unwrap_or("127.0.0.1:0");
    let output =
        Command::new(program).args(["fork", addr, "print-role", "factory-fails", "workers=1"]).output();
    match output {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(err) => err.to_string(),
    }
}

/// What a child says its soft limit of descriptors is.
fn child_limit(child: &mut Command) -> String {
    match child.output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Err(err) => err.to_string(),
    }
}

/// Leaves a process behind that sleeps for so many seconds, in this worker's group.
fn stray(seconds: u64) -> String {
    match Command::new("sleep").arg(seconds.to_string()).spawn() {
        Ok(child) => child.id().to_string(),
        Err(err) => err.to_string(),
    }
}

#[expect(unconditional_recursion, reason = "that is what it is for")]
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 1024]);
    overflow(depth + 1) + frame[1]
}
