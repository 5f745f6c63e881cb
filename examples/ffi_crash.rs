//! Run with `cargo run --release --example ffi_crash -- 127.0.0.1:3000`, then `curl -d 'Host: example' 127.0.0.1:3000`,
//! and `curl -d 'no colon' 127.0.0.1:3000`.
//!
//! A C function with a bug (`ffi_crash.c`): without a colon it reads where nothing is, and the kernel ends the process
//! for it. That is one worker. The requests that it has in hand are lost; the others serve on, and a new one is there
//! some milliseconds later. A counter that all workers share tells how many headers were measured in all.
use std::ffi::{CString, c_char, c_ulong};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use cluster_axum::{Counter, Error, Worker};

#[link(name = "ffi_crash", kind = "static")]
unsafe extern "C" {
    fn value_length(header: *const c_char) -> c_ulong;
}

fn main() -> Result<(), Error> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    cluster_axum::serve_with(|worker| async move {
        let measured = worker.counter("headers_measured")?;
        Ok(Router::new().route("/", post(measure)).with_state(measured))
    })
    .bind(addr)
    .run()
}

async fn measure(
    worker: Worker,
    State(measured): State<Counter>,
    header: String,
) -> Result<String, StatusCode> {
    let header = CString::new(header).map_err(|_| StatusCode::BAD_REQUEST)?;
    // SAFETY: a C string that lives until the function returns. That is all that its documentation asks for, and it is
    // wrong: it must have a colon, too.
    let length = unsafe { value_length(header.as_ptr()) };
    measured.add(1);
    let (id, pid, count) = (worker.id(), worker.pid(), measured.get());
    Ok(format!("{length} bytes, says worker {id} (pid {pid}); {count} were measured in all\n"))
}
