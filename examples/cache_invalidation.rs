//! Run with `cargo run --release --example cache_invalidation -- 127.0.0.1:3000`, then `curl -d 5 127.0.0.1:3000/milk`,
//! `curl 127.0.0.1:3000/milk` a few times, and set another price.
//!
//! Prices are files (in the folder `PRICES`, else `cluster-prices` among the temporary ones), and each worker keeps those
//! that it has read. Who sets one tells all others to forget it. One that misses the message, or was just reading the
//! old price, shows that until it is too old: a broadcast makes caches fresh soon, and only their age makes it sure.
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use axum::{Router, extract::Path, http::StatusCode, routing::get};
use cluster_axum::{Error, SendError, Worker};
use serde::{Deserialize, Serialize};

/// Nothing that is kept is older.
const FRESH: Duration = Duration::from_secs(30);

/// This worker's.
static CACHE: LazyLock<Mutex<HashMap<String, (String, Instant)>>> = LazyLock::new(Mutex::default);

#[derive(Serialize, Deserialize)]
struct Forget(String);
fn main() -> Result<(), Error> {
    let addr = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    cluster_axum::on_message(|Forget(item): Forget| forget(&item));
    cluster_axum::serve(Router::new().route("/{item}", get(price).post(set))).bind(addr).run()
}

fn forget(item: &str) {
    CACHE.lock().expect("nobody panics with it").remove(item);
}

fn file(item: &str) -> Result<PathBuf, StatusCode> {
    let folder = env::var_os("PRICES").map_or_else(|| env::temp_dir().join("cluster-prices"), PathBuf::from);
    let is_name = item.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_name { Ok(folder.join(item)) } else { Err(StatusCode::BAD_REQUEST) }
}

async fn price(worker: Worker, Path(item): Path<String>) -> Result<String, StatusCode> {
    let kept = CACHE.lock().expect("nobody panics with it").get(&item).cloned();
    if let Some((price, _)) = kept.filter(|(_, since)| since.elapsed() < FRESH) {
        return Ok(format!("{item}: {price}, as worker {} remembers\n", worker.id()));
    }
    let price = fs::read_to_string(file(&item)?).map_err(|_| StatusCode::NOT_FOUND)?;
    CACHE.lock().expect("nobody panics with it").insert(item.clone(), (price.clone(), Instant::now()));
    Ok(format!("{item}: {price}, as worker {} has read\n", worker.id()))
}

async fn set(worker: Worker, Path(item): Path<String>, price: String) -> Result<String, StatusCode> {
    let file = file(&item)?;
    let written = file.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&file, price));
    written.map_err(|_: io::Error| StatusCode::INTERNAL_SERVER_ERROR)?;
    // BEHIND the write: who forgets earlier may read the old price again.
    forget(&item);
    let told =
        worker.broadcast(&Forget(item)).await.map_err(|_: SendError| StatusCode::SERVICE_UNAVAILABLE)?;
    Ok(format!("{} others forget it, {} could not be told\n", told.reached, told.missed))
}
