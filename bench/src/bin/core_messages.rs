//! Our messages: between a worker and the director, between two workers, from the director to eight.
//!
//! All pass through the primary, which no code here runs in.
#![forbid(unsafe_code)]
use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bench_work::{Job, MEASURING, Outcome, Progress, Shape, Text, Trips, Window};
use cluster_core::{Ask, BoxError, Builder, Cluster, ClusterHandle, Ready, Slot, To, Worker};
use futures::StreamExt;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// Workers that hear a broadcast.
const LISTENERS: u32 = 8;
/// Broadcasts whose receipts are waited for at a time.
const ON_THE_WAY: usize = 256;
/// Between workers, this one sends or asks; the other hears or answers.
const SENDER: Slot = Slot(0);
const RECEIVER: Slot = Slot(1);

/// A question that is answered with its text.
#[derive(Serialize, Deserialize)]
struct Echo {
    text: String,
}

impl Ask for Echo {
    type Answer = Text;
}

/// Whoever sends this has its handler.
#[derive(Serialize, Deserialize)]
struct Listening {}

/// A worker's counting has begun.
#[derive(Serialize, Deserialize)]
struct Begun {}

/// What a worker has counted.
#[derive(Serialize, Deserialize)]
struct Heard {
    per_second: f64,
}

fn main() -> ExitCode {
    let job = match Job::from_args() {
        Ok(job) => job,
        Err(err) => {
            eprintln!("{err}");
            return ExitCode::FAILURE;
        }
    };
    let cluster = match job.shape {
        Shape::OneWay => one_way(job),
        Shape::RoundTrip => round_trip(job),
        Shape::OneWayBetweenWorkers => between_workers(job, flood_receiver),
        Shape::RoundTripBetweenWorkers => between_workers(job, ask_receiver),
        Shape::Broadcast => broadcast(job),
        Shape::Drain => drain(job),
    };
    match cluster.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

fn one_way(job: Job) -> Ready {
    let count = count_and_say(job);
    Cluster::builder().workers(1).on_message(count).worker(move |worker| flood(job, worker, To::Primary))
}

fn round_trip(job: Job) -> Ready {
    let builder = Cluster::builder().workers(1);
    let builder = builder.on_ask(|_, Echo { text }| async move { Ok::<_, Infallible>(Text { text }) });
    builder.worker(move |worker| time_trips(job, worker, To::Primary))
}

/// One worker sends as `program` says; the other counts and echoes, whichever is wanted.
fn between_workers<F, Fut>(job: Job, program: F) -> Ready
where
    F: FnOnce(Job, Worker) -> Fut + Send + 'static,
    Fut: Future<Output = Result<(), BoxError>> + Send + 'static,
{
    Cluster::builder().workers(2).worker(move |worker| async move {
        if worker.slot() == SENDER {
            // A figure of messages that wait for their receiver's birth would be none.
            let mut listening = worker.messages::<Listening>();
            listening.next().await.ok_or("the receiver has never listened")?;
            return program(job, worker).await;
        }
        worker.on_message(count_and_say(job));
        worker.on_ask(|_, Echo { text }| async move { Ok::<_, Infallible>(Text { text }) });
        worker.send_to(SENDER, &Listening {}).await?;
        worker.draining().await;
        Ok(())
    })
}

async fn flood_receiver(job: Job, worker: Worker) -> Result<(), BoxError> {
    flood(job, worker, To::Slot(RECEIVER)).await
}

async fn ask_receiver(job: Job, worker: Worker) -> Result<(), BoxError> {
    time_trips(job, worker, To::Slot(RECEIVER)).await
}

/// Sends as fast as it is let.
async fn flood(job: Job, worker: Worker, to: To) -> Result<(), BoxError> {
    let text = Text::of(job.bytes);
    while !worker.is_draining() {
        worker.send_to(to, &text).await?;
    }
    Ok(())
}

async fn time_trips(job: Job, worker: Worker, to: To) -> Result<(), BoxError> {
    let mut echo = Echo { text: Text::of(job.bytes).text };
    let mut trips = Trips::new(&job, Instant::now());
    while !worker.is_draining() {
        let answer = worker.ask(to, &echo).await?;
        answer.expect(job.bytes);
        echo.text = answer.text;
        if let Some(outcome) = trips.back(Instant::now()) {
            println!("{outcome}");
        }
    }
    Ok(())
}

/// A handler that counts and says what this program has found.
fn count_and_say(job: Job) -> impl Fn(Text) + Send + Sync + 'static {
    counter(job, |progress| match progress {
        Progress::NotCounted | Progress::Counted => {}
        Progress::Begins => println!("{MEASURING}"),
        Progress::Over(per_second) => println!("{}", Outcome { per_second, p50_us: None }),
    })
}

/// A handler that looks at the clock once for several messages, and passes on what it sees.
fn counter(
    job: Job,
    tell: impl Fn(Progress) + Send + Sync + 'static,
) -> impl Fn(Text) + Send + Sync + 'static {
    let counted = Mutex::new((0, Window::new(job.warm_up, job.window)));
    move |text| {
        text.expect(job.bytes);
        let mut counted = counted.lock().expect("no handler panics with it");
        let (messages, window) = &mut *counted;
        *messages += 1;
        if *messages == job.stride() {
            *messages = 0;
            tell(window.arrived(Instant::now(), job.stride()));
        }
    }
}

/// What all workers have said, in the director.
#[derive(Default)]
struct Together {
    begun: u32,
    over: u32,
    per_second: f64,
}

fn broadcast(job: Job) -> Ready {
    let listening = Arc::new(Semaphore::new(0));
    let builder = hear_workers(Cluster::builder().workers(LISTENERS as usize), listening.clone());
    let builder = builder.primary(move |cluster| broadcast_without_end(job, cluster, listening));
    builder.worker(move |worker| async move {
        let told = worker.clone();
        worker.on_message(counter(job, move |progress| tell_director(&told, progress)));
        worker.send(&Listening {}).await?;
        worker.draining().await;
        Ok(())
    })
}

/// Adds up in the director what workers count.
fn hear_workers(builder: Builder, listening: Arc<Semaphore>) -> Builder {
    let together = Arc::new(Mutex::new(Together::default()));
    let begun = together.clone();
    builder
        .on_message(move |_: Listening| listening.add_permits(1))
        .on_message(move |_: Begun| {
            let mut together = begun.lock().expect("no handler panics with it");
            together.begun += 1;
            if together.begun == 1 {
                println!("{MEASURING}");
            }
        })
        .on_message(move |heard: Heard| {
            let mut together = together.lock().expect("no handler panics with it");
            together.over += 1;
            together.per_second += heard.per_second;
            if together.over == LISTENERS {
                println!("{}", Outcome { per_second: together.per_second, p50_us: None });
            }
        })
}

async fn broadcast_without_end(
    job: Job,
    cluster: ClusterHandle,
    listening: Arc<Semaphore>,
) -> Result<(), BoxError> {
    let _all = listening.acquire_many(LISTENERS).await?;
    let text = Text::of(job.bytes);
    let sent = futures::stream::repeat_with(|| cluster.broadcast(&text)).buffered(ON_THE_WAY);
    // What was missed shows: those who have not heard all count less.
    sent.take_until(cluster.stopping()).for_each(|_| std::future::ready(())).await;
    Ok(())
}

fn tell_director(worker: &Worker, progress: Progress) {
    let told = worker.clone();
    match progress {
        Progress::NotCounted | Progress::Counted => {}
        Progress::Begins => drop(worker.spawn(async move { told.send(&Begun {}).await })),
        Progress::Over(per_second) => {
            drop(worker.spawn(async move { told.send(&Heard { per_second }).await }));
        }
    }
}

/// The worker has been told to drain, at this time of the machine's monotonic clock.
#[derive(Serialize, Deserialize)]
struct Drains {
    at_ns: i64,
}

/// When the director asked for it: how long that took until the worker, which floods it, heard.
#[derive(Default)]
struct DrainsTimed {
    asked_ns: i64,
    took: Vec<f64>,
}

fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}

/// The director has the worker replaced again and again, and the worker floods it until it hears of that.
fn drain(job: Job) -> Ready {
    let timed = Arc::new(Mutex::new(DrainsTimed::default()));
    let heard = timed.clone();
    Cluster::builder()
        .workers(1)
        .on_message(|_: Text| {})
        .on_message(move |Drains { at_ns }| {
            let mut timed = heard.lock().expect("no handler panics with it");
            let took = (at_ns - timed.asked_ns) as f64 / 1e3;
            timed.took.push(took);
        })
        .primary(move |cluster| replace_again_and_again(job, cluster, timed))
        .worker(move |worker| async move {
            worker.ready();
            let flood = tokio::spawn(flood(job, worker.clone(), To::Primary));
            worker.draining().await;
            worker.send(&Drains { at_ns: now_ns() }).await?;
            flood.await?
        })
}

async fn replace_again_and_again(
    job: Job,
    cluster: ClusterHandle,
    timed: Arc<Mutex<DrainsTimed>>,
) -> Result<(), BoxError> {
    let lock = || timed.lock().expect("no handler panics with it");
    tokio::time::sleep(job.warm_up).await;
    println!("{MEASURING}");
    let start = Instant::now();
    while start.elapsed() < job.window || lock().took.len() < 5 {
        // It floods for a while, so that all that there is of queues is full.
        tokio::time::sleep(job.warm_up / 8).await;
        lock().asked_ns = now_ns();
        cluster.restart(SENDER).await?;
    }
    let mut took = std::mem::take(&mut lock().took);
    took.sort_by(f64::total_cmp);
    let per_second = took.len() as f64 / start.elapsed().as_secs_f64();
    println!("{}", Outcome { per_second, p50_us: took.get(took.len() / 2).copied() });
    cluster.stopping().await;
    Ok(())
}
