//! A web application: `web axum|actix fork|await PLACE [KNOB..]`. A place is one of TCP, `unix:PATH`, `fd:NAME` or
//! `fd:NAME=ADDR`. It says who asks, and how the worker is called; `/slow` takes half a second for that.
use std::env;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, web};
use axum::Router;
use axum::body::Bytes;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::routing::{get, post};
use cluster_axum::{Accepted, Builder, ClusterHandle, Overload, PeerAddr, Scheduling, Serve, Worker};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const SLOW: Duration = Duration::from_millis(500);
/// So long may a body be, in bytes, as with axum.
const MOST: usize = 2 * 1024 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, framework, method, place, knobs @ ..] = &arguments[..] else {
        eprintln!("usage: web axum|actix fork|await PLACE [KNOB..]");
        return ExitCode::from(2);
    };
    let knobs = Knobs(knobs.to_vec());
    let ended = match framework.as_str() {
        "axum" => serve(place, &knobs, method).map_err(std::io::Error::from),
        _ => serve_actix(place, &knobs, method),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

/// What a test wants, as words on the command line:
/// - `also=PLACE` (axum): another application there;
/// - `second=ADDR` (actix): the same application there, too;
/// - `rule=LISTENER:round-robin`: that listener's scheduling;
/// - `max=N`, `max-cluster=N`, `rate=N`, `refuse`: limits;
/// - `max-requests=N`: workers are recycled;
/// - `head-ms=N`, `body-ms=N`, and with axum `idle-ms=N`, `write-ms=N`: how long a client may take;
/// - `delay` (axum): small answers may wait;
/// - `stop-by-message` (axum): the cluster stops when somebody asks for `/stop`;
/// - `director`, `status-at=PATH`: what is counted is told there.
#[derive(Clone)]
struct Knobs(Vec<String>);

impl Knobs {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find_map(|knob| knob.strip_prefix(name)?.strip_prefix('='))
    }

    fn number(&self, name: &str) -> Option<usize> {
        self.value(name).map(|value| value.parse().expect("a number"))
    }

    fn millis(&self, name: &str) -> Option<Duration> {
        self.number(name).map(|millis| Duration::from_millis(millis as u64))
    }

    /// Those that are the builder's, whichever the framework.
    fn apply(&self, mut builder: Builder) -> Builder {
        if let Some((listener, "round-robin")) = self.value("rule").and_then(|rule| rule.split_once(':')) {
            builder = builder.listener_scheduling(listener, Scheduling::RoundRobin);
        }
        if let Some(most) = self.number("max-cluster") {
            builder = builder.max_cluster_connections(most);
        }
        if let Some(most) = self.number("max-requests") {
            builder = builder.max_requests(most as u64);
        }
        if let Some(rate) = self.number("rate") {
            builder = builder.max_connection_rate(rate as u32);
        }
        if self.0.iter().any(|knob| knob == "refuse") {
            builder = builder.overload(Overload::Refuse);
        }
        if let Some(path) = self.value("status-at").map(str::to_owned) {
            builder =
                builder.primary(move |cluster: ClusterHandle| cluster_tests::counters::tell(cluster, path));
        }
        builder
    }
}

/// A place of a service manager: the name, and the address else.
fn passed(place: &str) -> Option<(&str, Option<&str>)> {
    let passed = place.strip_prefix("fd:")?;
    Some(passed.split_once('=').map_or((passed, None), |(name, addr)| (name, Some(addr))))
}

fn app(name: &'static str) -> Router {
    let who = move |ConnectInfo(Client { peer, .. }): ConnectInfo<Client>| async move {
        format!("{name}: {peer} asks worker {}", cluster_axum::worker().slot())
    };
    let nodelay = async |ConnectInfo(Client { nodelay, .. }): ConnectInfo<Client>| format!("{nodelay:?}");
    let slow = move || async move {
        tokio::time::sleep(SLOW).await;
        format!("{name}: late")
    };
    let take = async |body: Bytes| format!("{} bytes", body.len());
    let stop = async |worker: Worker| worker.send(&Stop).await.map(|()| "as you wish");
    Router::new()
        .route("/", get(who))
        .route("/slow", get(slow))
        .route("/nodelay", get(nodelay))
        .route("/take", post(take))
        .route("/stop", get(stop))
}

/// Who asks, and how the connection is set.
#[derive(Clone)]
struct Client {
    peer: PeerAddr,
    nodelay: Option<bool>,
}

impl Connected<Accepted<'_>> for Client {
    fn connect_info(accepted: Accepted<'_>) -> Self {
        let nodelay = accepted.io().tcp().and_then(|tcp| tcp.nodelay().ok());
        Self { peer: accepted.remote_addr(), nodelay }
    }
}

/// Somebody wants the cluster to stop.
#[derive(Serialize, Deserialize)]
struct Stop;

/// What a client may take its time for.
fn with_timeouts(serve: Serve, knobs: &Knobs) -> Serve {
    let set = |serve, knob, set: fn(Serve, Duration) -> Serve| match knobs.millis(knob) {
        Some(limit) => set(serve, limit),
        None => serve,
    };
    let serve = set(serve, "head-ms", |serve, limit| serve.header_read_timeout(limit));
    let serve = set(serve, "body-ms", |serve, limit| serve.body_timeout(limit));
    let serve = set(serve, "idle-ms", |serve, limit| serve.keep_alive_timeout(limit));
    set(serve, "write-ms", |serve, limit| serve.write_timeout(limit))
}

/// Resolves, on the primary's side, when a worker has sent `Stop`.
fn with_stop(serve: Serve) -> Serve {
    let asked = Arc::new(Notify::new());
    let asking = asked.clone();
    serve.cluster(|builder| builder.on_message(move |_: Stop| asking.notify_one())).with_graceful_shutdown(
        async move {
            // At once: others write there, too.
            let told = format!("waited for in {}\n", std::process::id());
            let _ = std::io::stderr().write_all(told.as_bytes());
            asked.notified().await;
        },
    )
}

fn serve(place: &str, knobs: &Knobs, method: &str) -> Result<(), cluster_axum::Error> {
    let serve = cluster_axum::serve(app("app").into_make_service_with_connect_info::<Client>()).workers(2);
    let serve = match (place.strip_prefix("unix:"), passed(place)) {
        (Some(path), _) => serve.bind_uds(path),
        (None, Some((name, None))) => serve.inherit(name),
        (None, Some((name, Some(addr)))) => serve.inherit_or_bind(name, addr),
        (None, None) => serve.bind(place),
    };
    let serve = knobs.value("also").into_iter().fold(serve, and_also);
    let serve = knobs.value("also-made").into_iter().fold(serve, and_also_made);
    let serve = knobs.number("max").into_iter().fold(serve, Serve::max_connections);
    let serve = with_timeouts(serve, knobs).tcp_nodelay(!knobs.0.iter().any(|knob| knob == "delay"));
    let serve = if knobs.0.iter().any(|knob| knob == "stop-by-message") { with_stop(serve) } else { serve };
    run(serve.cluster(|builder| knobs.apply(builder)), method)
}

fn and_also(serve: Serve, place: &str) -> Serve {
    let admin = app("admin").into_make_service_with_connect_info::<Client>();
    match place.strip_prefix("unix:") {
        Some(path) => serve.also_uds(admin, path),
        None => serve.also(admin, place),
    }
}

fn and_also_made(serve: Serve, place: &str) -> Serve {
    let make = async |worker: Worker| {
        // Only a worker's runtime has timers.
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(worker.id(), cluster_axum::worker().id());
        Ok(app("admin").into_make_service_with_connect_info::<Client>())
    };
    serve.also_with(make, place)
}

fn run(serve: Serve, method: &str) -> Result<(), cluster_axum::Error> {
    if method == "fork" {
        return serve.run();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(serve.into_future())
}

fn serve_actix(place: &str, knobs: &Knobs, method: &str) -> std::io::Result<()> {
    let server = || {
        let server = cluster_actix::HttpServer::new(|| {
            let who = async |request: HttpRequest| {
                let peer = request.peer_addr().map_or("unix".to_owned(), |addr| addr.to_string());
                format!("app: {peer} asks worker {}", cluster_actix::worker().slot())
            };
            let slow = async || {
                tokio::time::sleep(SLOW).await;
                "app: late"
            };
            let take = async |body: web::Bytes| format!("{} bytes", body.len());
            actix_web::App::new()
                .app_data(web::PayloadConfig::new(MOST))
                .route("/", web::get().to(who))
                .route("/slow", web::get().to(slow))
                .route("/take", web::post().to(take))
        });
        let server = server.workers(2);
        let server = match (place.strip_prefix("unix:"), passed(place)) {
            (Some(path), _) => server.bind_uds(path),
            (None, Some((name, None))) => server.inherit(name),
            (None, Some((name, Some(addr)))) => server.inherit_or_bind(name, addr),
            (None, None) => server.bind(place),
        }?;
        let server = knobs.value("second").into_iter().try_fold(server, |server, addr| server.bind(addr))?;
        let server = match knobs.number("max") {
            Some(most) => server.max_connections(most),
            None => server,
        };
        let server = match knobs.millis("head-ms") {
            Some(limit) => server.client_request_timeout(limit),
            None => server,
        };
        let server = match knobs.millis("body-ms") {
            Some(limit) => server.client_body_timeout(limit),
            None => server,
        };
        std::io::Result::Ok(server.cluster(|builder| knobs.apply(builder)))
    };
    if method == "fork" {
        return server()?.run().join();
    }
    actix_web::rt::System::new().block_on(async { server()?.run().await })
}
