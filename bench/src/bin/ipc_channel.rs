//! The crate `ipc-channel` between two processes.
#![forbid(unsafe_code)]
use std::error::Error;
use std::time::Instant;

use bench_work::{Job, MEASURING, Outcome, Progress, Shape, Text, Trips, Window};
use ipc_channel::ipc::{self, IpcOneShotServer, IpcReceiver, IpcSender};

/// What the first process holds of the two channels.
type Ends = (IpcSender<Text>, IpcReceiver<Text>);

fn main() -> Result<(), Box<dyn Error>> {
    let job = Job::from_args()?;
    if let Some(name) = bench_work::connect_to() {
        // It ends with an error: that of sending to whoever has left.
        let _ = second(&job, name);
        return Ok(());
    }
    let (server, name) = IpcOneShotServer::<Ends>::new()?;
    let _child = bench_work::second_process(&name)?.spawn()?;
    let (_, ends) = server.accept()?;
    bench_work::finish(match job.shape {
        Shape::OneWay => count(&job, &ends)?,
        Shape::RoundTrip => time_trips(&job, &ends)?,
        Shape::OneWayBetweenWorkers | Shape::RoundTripBetweenWorkers | Shape::Broadcast | Shape::Drain => {
            return Err(format!("two processes have nobody for {}", job.shape.word()).into());
        }
    });
    Ok(())
}

/// The second process: floods the first, or echoes.
fn second(job: &Job, name: String) -> Result<(), Box<dyn Error>> {
    let (to_us, from_first) = ipc::channel::<Text>()?;
    let (to_first, from_us) = ipc::channel::<Text>()?;
    IpcSender::<Ends>::connect(name)?.send((to_us, from_us))?;
    if job.shape == Shape::OneWay {
        loop {
            // `send` takes what it sends: whoever uses it makes each message anew, as here.
            to_first.send(Text::of(job.bytes))?;
        }
    }
    loop {
        to_first.send(from_first.recv()?)?;
    }
}

fn count(job: &Job, (_, from_second): &Ends) -> Result<Outcome, Box<dyn Error>> {
    let mut window = Window::new(job.warm_up, job.window);
    loop {
        for _ in 0..job.stride() {
            from_second.recv()?.expect(job.bytes);
        }
        match window.arrived(Instant::now(), job.stride()) {
            Progress::NotCounted | Progress::Counted => {}
            Progress::Begins => println!("{MEASURING}"),
            Progress::Over(per_second) => return Ok(Outcome { per_second, p50_us: None }),
        }
    }
}

fn time_trips(job: &Job, (to_second, from_second): &Ends) -> Result<Outcome, Box<dyn Error>> {
    let mut text = Text::of(job.bytes);
    let mut trips = Trips::new(job, Instant::now());
    loop {
        to_second.send(text)?;
        text = from_second.recv()?;
        text.expect(job.bytes);
        if let Some(outcome) = trips.back(Instant::now()) {
            return Ok(outcome);
        }
    }
}
