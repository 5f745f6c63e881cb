//! A cluster of actix-web that ends early: `actix_subject fork|await FILE fails|panics|stops`.
//!
//! Each worker says `MESSAGES` numbers to the primary's side and then ends as it was told to; the primary's side
//! writes a line to the file for each worker that has ended: what was heard of it before, its number, the reason.
use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};
use std::{env, fs};

use actix_web::App;
use cluster_actix::{Exit, HttpServer, Server, ServerHandle, WorkerId, WorkerRef, worker};

/// So many does a worker say before it ends.
const MESSAGES: u64 = 100;

/// How many were heard of each worker.
static HEARD: Mutex<Option<HashMap<WorkerId, u64>>> = Mutex::new(None);
/// The server as a worker may stop it.
static SERVER: OnceLock<ServerHandle> = OnceLock::new();

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, file, how] = &arguments[..] else {
        eprintln!("usage: actix_subject fork|await FILE fails|panics|stops");
        return ExitCode::from(2);
    };
    let ended = if method == "fork" {
        let server = server(file, how);
        let _ = SERVER.set(server.handle());
        server.join()
    } else {
        actix_web::rt::System::new().block_on(async {
            let server = server(file, how);
            let _ = SERVER.set(server.handle());
            server.await
        })
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("{err}");
            ExitCode::FAILURE
        }
    }
}

fn server(file: &str, how: &str) -> Server {
    let (file, how) = (file.to_owned(), how.to_owned());
    let server = HttpServer::new(move || {
        match how.as_str() {
            "stops" => stop(),
            "panics" => {
                speak();
                panic!("the factory panics, as it should")
            }
            _ => speak(),
        }
        let fails = how == "fails";
        App::new().data_factory(move || async move {
            if fails { Err("cannot reach the database") } else { Ok::<_, &str>(()) }
        })
    });
    let server = server.cluster(move |builder| {
        builder
            .on_message(|from: WorkerRef, _: u64| {
                let mut heard = HEARD.lock().expect("nobody panics with it");
                *heard.get_or_insert_default().entry(from.id()).or_default() += 1;
            })
            .on_exit(move |exit: Exit| note(&file, &exit))
    });
    server.workers(1).bind("127.0.0.1:0").expect("a free port").run()
}

fn speak() {
    (0..MESSAGES).for_each(|number| worker().try_send(&number).expect("there is room"));
}

/// Stops the server at once, and speaks when it does: in a task that is waited for.
fn stop() {
    let draining = worker().draining();
    worker().spawn(async {
        draining.await;
        speak();
    });
    drop(actix_web::rt::spawn(SERVER.get().expect("main has set it").stop(false)));
}

fn note(file: &str, exit: &Exit) -> Result<(), Infallible> {
    let heard = HEARD.lock().expect("nobody panics with it");
    let count = heard.as_ref().and_then(|heard| heard.get(&exit.worker)).copied().unwrap_or_default();
    let line = format!("{count} of {}: {:?}\n", exit.worker, exit.reason);
    let mut file = fs::File::options().append(true).create(true).open(file).expect("the folder is there");
    file.write_all(line.as_bytes()).expect("there is room on the disk");
    Ok(())
}
