//! A cluster whose workers become somebody else: `changeling core|axum|actix fork|await ADDR [KNOB..]`. Of the core it
//! answers one line per connection; the others say over HTTP who they are.
//!
//! What is called at a birth and before an end writes a line to the file of the knob `notes=`.
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs, thread};

use axum::Router;
use axum::routing::get;
use cluster_axum::{Account, Resource};
use cluster_core::{BoxError, Builder, Cluster, ClusterHandle, Restart, Worker, role};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, framework, method, addr, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: changeling core|axum|actix fork|await ADDR [KNOB..]");
        return ExitCode::from(2);
    };
    let knobs = Knobs(knobs.to_vec());
    if knobs.has("main-hangs") && cluster_core::is_worker() {
        thread::sleep(Duration::from_secs(600));
    }
    let ended = match framework.as_str() {
        "axum" => serve_axum(method, addr, &knobs),
        "actix" => serve_actix(method, addr, &knobs),
        _ => serve_core(method, addr, &knobs),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("error: {err}");
            ExitCode::FAILURE
        }
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

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.value(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{value} is no number")))
    }

    /// Notes what happens, with the role and, of a worker, the slot.
    fn note(&self, what: &str) {
        let Some(path) = self.value("notes") else { return };
        let slot = cluster_core::try_worker().map_or(String::new(), |worker| format!(" {}", worker.slot()));
        let line = format!("{what} {:?}{slot}\n", role());
        let file = fs::File::options().append(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes())).expect("the file is there");
    }
}

/// All that this program is about.
fn configure(mut builder: Builder, knobs: &Knobs) -> Builder {
    builder = builder.workers(knobs.number("workers").unwrap_or(1));
    builder =
        builder.restart(Restart::default().delay(Duration::ZERO, Duration::ZERO).limit(3, Duration::MAX));
    if let Some(millis) = knobs.number("boot") {
        builder = builder.boot_timeout(Duration::from_millis(millis));
    }
    if let Some(millis) = knobs.number("drain") {
        builder = builder.drain_timeout(Duration::from_millis(millis));
    }
    if let Some(user) = knobs.value("user") {
        builder = builder.user(user);
    }
    if let Some(group) = knobs.value("group") {
        builder = builder.group(group.parse::<u32>().map_or_else(|_| group.into(), Account::from));
    }
    if knobs.has("no-new-privileges") {
        builder = builder.no_new_privileges();
    }
    if let Some(count) = knobs.number("descriptors") {
        builder = builder.limit(Resource::Descriptors, count, count);
    }
    if let Some(bytes) = knobs.number("core-dumps") {
        builder = builder.limit(Resource::Core, 1, bytes);
    }
    if let Some(niceness) = knobs.number("nice") {
        builder = builder.nice(niceness);
    }
    if let Some(bytes) = knobs.number("max-memory") {
        builder = builder.max_memory(bytes);
    }
    if knobs.has("pin") {
        builder = builder.pin_cpus();
    }
    if let Some(path) = knobs.value("directory") {
        builder = builder.directory(path);
    }
    if let Some((name, value)) = knobs.value("env").and_then(|pair| pair.split_once(':')) {
        builder = builder.env(name, value);
    }
    if let Some(path) = knobs.value("status-at") {
        let path = path.to_owned();
        builder = builder.primary(|cluster| tell_status(cluster, path));
    }
    hook(builder, knobs)
}

/// What is called at a birth and before an end.
fn hook(mut builder: Builder, knobs: &Knobs) -> Builder {
    if knobs.has("prepares") {
        let knobs = knobs.clone();
        builder = builder.prepare(move || prepare(&knobs));
    }
    if knobs.has("fork-hooks") {
        let (before, after) = (knobs.clone(), knobs.clone());
        builder = builder.before_fork(move || around_fork(&before, "before_fork"));
        builder = builder.after_fork(move || around_fork(&after, "after_fork"));
    }
    if knobs.has("worker-hooks") {
        let (first, second) = (knobs.clone(), knobs.clone());
        builder = builder
            .on_worker_start(move |_| in_worker(first, "start-1"))
            .on_worker_start(move |_| in_worker(second, "start-2"));
        let (first, second) = (knobs.clone(), knobs.clone());
        builder = builder
            .on_worker_stop(move |_| in_worker(first, "stop-1"))
            .on_worker_stop(move |_| in_worker(second, "stop-2"));
    }
    builder
}

/// Notes who prepares.
fn prepare(knobs: &Knobs) -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let fields = ["Uid", "Gid", "Groups", "NoNewPrivs", "CapEff"];
    let of_those = |line: &&str| line.split_once(':').is_some_and(|(name, _)| fields.contains(&name));
    let words = status.lines().filter(of_those).flat_map(str::split_whitespace);
    knobs.note(&words.collect::<Vec<_>>().join(" "));
    if knobs.has("prepare-hangs") {
        let child = std::process::Command::new("sleep").arg("600").spawn()?;
        knobs.note(&format!("child {}", child.id()));
        thread::sleep(Duration::from_secs(600));
    }
    Ok(())
}

fn around_fork(knobs: &Knobs, what: &str) -> Result<(), String> {
    knobs.note(what);
    match knobs.value(what) {
        Some("fails") => Err("no luck".to_owned()),
        Some("panics") => panic!("no luck"),
        Some("threads") => {
            thread::Builder::new()
                .name("left-running".into())
                .spawn(|| thread::sleep(Duration::from_secs(600)))
                .map_err(|err| err.to_string())?;
            Ok(())
        }
        Some("speaks") => {
            // More than a pipe holds: nobody may have to read it.
            (0..200).for_each(|_| drop(io::stderr().write_all(&[b'.'; 1024])));
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn in_worker(knobs: Knobs, what: &str) -> Result<(), BoxError> {
    knobs.note(what);
    tokio::time::sleep(Duration::from_millis(10)).await;
    match knobs.value(what) {
        Some("fails") => Err("no luck".into()),
        Some("panics") => panic!("no luck"),
        Some("hangs") => std::future::pending().await,
        _ => Ok(()),
    }
}

/// Answers how the workers stand, a line for each, to whoever connects.
async fn tell_status(cluster: ClusterHandle, path: String) {
    // A predecessor's.
    let _ = fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).expect("a free path");
    while let Ok((mut client, _)) = listener.accept().await {
        let lines: String = cluster
            .status()
            .workers
            .iter()
            .map(|worker| {
                let memory = worker.private_memory.map_or("-".to_owned(), |bytes| bytes.to_string());
                format!("{} {} {memory}\n", worker.pid, worker.connections.total)
            })
            .collect();
        let _ = client.write_all(lines.as_bytes()).await;
    }
}

type Ended = Result<(), Box<dyn std::error::Error>>;

fn serve_core(method: &str, addr: &str, knobs: &Knobs) -> Ended {
    let own = knobs.clone();
    let cluster =
        configure(Cluster::builder().bind("line", addr), knobs).worker(move |worker| program(worker, own));
    if method == "fork" {
        return Ok(cluster.run()?);
    }
    Ok(runtime().block_on(cluster.into_future())?)
}

fn runtime() -> tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime")
}

async fn program(worker: Worker, knobs: Knobs) -> Result<(), BoxError> {
    knobs.note("program");
    let first = worker.id().0 == 1;
    if let Some(bytes) = knobs.number("memory").or(knobs.number("memory-of-1").filter(|_| first)) {
        // Written to, and never freed.
        std::mem::forget(std::hint::black_box(vec![1_u8; bytes]));
    }
    let mut acceptor = worker.acceptor("line")?;
    if knobs.has("program-fails") {
        return Err("the program fails, as it should".into());
    }
    while let Some(connection) = acceptor.accept().await {
        let current = worker.clone();
        worker.spawn(async move {
            let mut connection = BufReader::new(connection);
            let mut line = String::new();
            connection.read_line(&mut line).await?;
            let answer = answer(&current, line.trim_end());
            connection.write_all(format!("{answer}\n").as_bytes()).await?;
            connection.shutdown().await
        });
    }
    knobs.note("drained");
    Ok(())
}

fn answer(worker: &Worker, line: &str) -> String {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "who" => format!("{} {} {}", worker.id(), worker.slot(), worker.pid()),
        "env" => env::var(rest).unwrap_or_else(|err| err.to_string()),
        "directory" => {
            env::current_dir().map_or_else(|err| err.to_string(), |path| path.display().to_string())
        }
        "abort" => {
            eprintln!("{rest}");
            std::process::abort()
        }
        "block" => {
            thread::sleep(Duration::from_secs(600));
            "unblocked".to_owned()
        }
        // What standard error is; many programs open it by this name.
        "stderr" => {
            let opened = fs::File::options().write(true).open("/dev/stderr");
            opened.map_or_else(|err| err.to_string(), |_| "opened".to_owned())
        }
        "own-files" => own_files(),
        // Leaves a process behind, in this worker's group.
        "stray" => match std::process::Command::new("sleep").arg("600").spawn() {
            Ok(child) => child.id().to_string(),
            Err(err) => err.to_string(),
        },
        _ => format!("what is {line:?}?"),
    }
}

/// What of this process's own it can read.
fn own_files() -> String {
    let number = fs::read_dir("/proc/self/fd")
        .ok()
        .and_then(|mut all| all.next()?.ok())
        .map(|entry| entry.file_name());
    let info = number.map(|number| format!("/proc/self/fdinfo/{}", number.display()));
    let read = |path: &str| fs::read(path).map_or_else(|err| err.to_string(), |_| "read".to_owned());
    let files =
        [info.as_deref().unwrap_or("/none"), "/proc/self/smaps_rollup", "/proc/self/maps", "/proc/self/exe"];
    files.map(read).join(" ")
}

fn serve_axum(method: &str, addr: &str, knobs: &Knobs) -> Ended {
    let (settings, made) = (knobs.clone(), knobs.clone());
    let serve = cluster_axum::serve_with(move |_| async move {
        made.note("program");
        Ok(Router::new().route("/", get(async || format!("{}", nix::unistd::getuid()))))
    });
    let serve = serve.bind(addr).cluster(|builder| configure(builder, &settings));
    if method == "fork" {
        return Ok(serve.run()?);
    }
    Ok(runtime().block_on(serve.into_future())?)
}

fn serve_actix(method: &str, addr: &str, knobs: &Knobs) -> Ended {
    let server = || {
        let made = knobs.clone();
        let own = knobs.clone();
        let server = cluster_actix::HttpServer::new(move || {
            made.note("program");
            let who = async || format!("{}", nix::unistd::getuid());
            actix_web::App::new().route("/", actix_web::web::get().to(who))
        });
        let server = server.on_worker_start(move |_| in_worker(own, "start-0"));
        server.cluster(|builder| configure(builder, knobs)).bind(addr)
    };
    if method == "fork" {
        return Ok(server()?.run().join()?);
    }
    Ok(actix_web::rt::System::new().block_on(async { server()?.run().await })?)
}
