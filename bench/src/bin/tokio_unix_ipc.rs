//! The crate `tokio-unix-ipc` between two processes, each with a runtime of one thread.
#![forbid(unsafe_code)]
use std::error::Error;
use std::time::Instant;

use bench_work::{Job, MEASURING, Outcome, Progress, Shape, Text, Trips, Window};
use tokio_unix_ipc::{Bootstrapper, Receiver, Sender, symmetric_channel};

/// What a process holds of the two channels.
type Ends = (Sender<Text>, Receiver<Text>);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let job = Job::from_args()?;
    if let Some(path) = bench_work::connect_to() {
        // It ends with an error: that of sending to whoever has left.
        let _ = second(&job, path).await;
        return Ok(());
    }
    let bootstrapper = Bootstrapper::new()?;
    let path = bootstrapper.path().to_str().ok_or("the folder for temporary files has no UTF-8 name")?;
    let _child = bench_work::second_process(path)?.spawn()?;
    let (to_second, from_first) = symmetric_channel::<Text>()?;
    let (to_first, from_second) = symmetric_channel::<Text>()?;
    let theirs: Ends = (to_first, from_first);
    bootstrapper.send(theirs).await?;
    // Its file goes now: whoever started this program ends it with a signal.
    drop(bootstrapper);
    let ends = (to_second, from_second);
    bench_work::finish(match job.shape {
        Shape::OneWay => count(&job, &ends).await?,
        Shape::RoundTrip => time_trips(&job, &ends).await?,
        Shape::OneWayBetweenWorkers | Shape::RoundTripBetweenWorkers | Shape::Broadcast | Shape::Drain => {
            return Err(format!("two processes have nobody for {}", job.shape.word()).into());
        }
    });
    Ok(())
}

/// The second process: floods the first, or echoes.
async fn second(job: &Job, path: String) -> Result<(), Box<dyn Error>> {
    let (to_first, from_first) = Receiver::<Ends>::connect(path).await?.recv().await?;
    if job.shape == Shape::OneWay {
        loop {
            // `send` takes what it sends: whoever uses it makes each message anew, as here.
            to_first.send(Text::of(job.bytes)).await?;
        }
    }
    loop {
        to_first.send(from_first.recv().await?).await?;
    }
}

async fn count(job: &Job, (_, from_second): &Ends) -> Result<Outcome, Box<dyn Error>> {
    let mut window = Window::new(job.warm_up, job.window);
    loop {
        for _ in 0..job.stride() {
            from_second.recv().await?.expect(job.bytes);
        }
        match window.arrived(Instant::now(), job.stride()) {
            Progress::NotCounted | Progress::Counted => {}
            Progress::Begins => println!("{MEASURING}"),
            Progress::Over(per_second) => return Ok(Outcome { per_second, p50_us: None }),
        }
    }
}

async fn time_trips(job: &Job, (to_second, from_second): &Ends) -> Result<Outcome, Box<dyn Error>> {
    let mut text = Text::of(job.bytes);
    let mut trips = Trips::new(job, Instant::now());
    loop {
        to_second.send(text).await?;
        text = from_second.recv().await?;
        text.expect(job.bytes);
        if let Some(outcome) = trips.back(Instant::now()) {
            return Ok(outcome);
        }
    }
}
