//! Run with `cargo run --release --example axum_sqlite -- 127.0.0.1:3000`, then
//! `curl -d 'buy milk' 127.0.0.1:3000` and `curl 127.0.0.1:3000`.
//!
//! Notes in a database that all workers use (a file, `NOTES` or `notes.db`). It may have 16 connections; each worker
//! opens its part of them. The table is made once, before the first worker.
use std::env;
use std::time::Duration;

use axum::{Router, extract::State, http::StatusCode, routing::get};
use cluster_axum::{Error, Worker};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};

/// For the whole cluster.
const CONNECTIONS: usize = 16;

type Answer = Result<String, (StatusCode, String)>;

fn main() -> Result<(), Error> {
    let addr = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".into());
    cluster_axum::serve_with(|worker| async move {
        let pool = connect(CONNECTIONS / worker.slots()).await?;
        Ok(Router::new().route("/", get(list).post(add)).with_state(pool))
    })
    .bind(addr)
    .cluster(|cluster| cluster.prepare(migrate))
    .run()
}

async fn connect(connections: usize) -> Result<SqlitePool, sqlx::Error> {
    let file = env::var_os("NOTES").unwrap_or_else(|| "notes.db".into());
    // Several processes write: they take turns, and readers wait for nobody.
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(5));
    SqlitePoolOptions::new().max_connections(connections.max(1) as u32).connect_with(options).await
}

/// Once per start and once per reload, in a process of its own.
async fn migrate() -> Result<(), sqlx::Error> {
    let table = "CREATE TABLE IF NOT EXISTS note (text TEXT NOT NULL)";
    sqlx::query(table).execute(&connect(1).await?).await.map(drop)
}

async fn list(State(pool): State<SqlitePool>) -> Answer {
    let query = sqlx::query_scalar("SELECT text FROM note ORDER BY rowid");
    let notes: Vec<String> = query.fetch_all(&pool).await.map_err(failed)?;
    Ok(notes.iter().map(|note| format!("{note}\n")).collect())
}

async fn add(worker: Worker, State(pool): State<SqlitePool>, text: String) -> Answer {
    sqlx::query("INSERT INTO note (text) VALUES (?)").bind(text).execute(&pool).await.map_err(failed)?;
    Ok(format!("worker {} has noted it\n", worker.id()))
}

fn failed(err: sqlx::Error) -> (StatusCode, String) {
    (StatusCode::INTERNAL_SERVER_ERROR, err.to_string())
}
