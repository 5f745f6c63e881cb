//! The limit: bytes through a stream socket between two processes, with nothing but a length before each
//! message. Nobody decodes, and as many messages as fit go with one system call.
#![forbid(unsafe_code)]
use std::error::Error;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

use bench_work::{Job, MEASURING, Outcome, Progress, Shape, Trips, Window};

/// The length, before each message.
const HEAD: usize = 4;
/// What is written at once, where messages are smaller.
const WRITE: usize = 64 << 10;
/// What is read at once, where messages are smaller.
const READ: usize = 256 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let job = Job::from_args()?;
    if bench_work::connect_to().is_some() {
        // The socket is its standard input. It ends with an error: that of writing to whoever has left.
        let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        let _ = second(&job, socket);
        return Ok(());
    }
    let (socket, theirs) = UnixStream::pair()?;
    let _child =
        bench_work::second_process("standard input")?.stdin(Stdio::from(OwnedFd::from(theirs))).spawn()?;
    bench_work::finish(match job.shape {
        Shape::OneWay => count(&job, socket)?,
        Shape::RoundTrip => time_trips(&job, socket)?,
        Shape::OneWayBetweenWorkers | Shape::RoundTripBetweenWorkers | Shape::Broadcast | Shape::Drain => {
            return Err(format!("two processes have nobody for {}", job.shape.word()).into());
        }
    });
    Ok(())
}

/// The second process: floods the first, or echoes.
fn second(job: &Job, mut socket: UnixStream) -> io::Result<()> {
    let mut frame = frame(job.bytes);
    if job.shape == Shape::OneWay {
        let frames = frame.repeat((WRITE / frame.len()).max(1));
        loop {
            socket.write_all(&frames)?;
        }
    }
    loop {
        socket.read_exact(&mut frame)?;
        socket.write_all(&frame)?;
    }
}

fn count(job: &Job, mut socket: UnixStream) -> Result<Outcome, Box<dyn Error>> {
    let mut window = Window::new(job.warm_up, job.window);
    let frame = HEAD + job.bytes;
    let mut buffer = vec![0; READ.max(frame)];
    let mut filled = 0;
    loop {
        // A message that is larger than what one read brings is read to its end, and no further.
        let end = if frame < READ { READ } else { frame };
        let read = socket.read(&mut buffer[filled..end])?;
        if read == 0 {
            return Err("the second process has left".into());
        }
        filled += read;
        let messages = whole_frames(&buffer[..filled], job.bytes)?;
        if messages == 0 {
            continue;
        }
        buffer.copy_within(messages * frame..filled, 0);
        filled -= messages * frame;
        match window.arrived(Instant::now(), messages as u64) {
            Progress::NotCounted | Progress::Counted => {}
            Progress::Begins => println!("{MEASURING}"),
            Progress::Over(per_second) => return Ok(Outcome { per_second, p50_us: None }),
        }
    }
}

/// How many messages are there in full.
fn whole_frames(mut bytes: &[u8], expected: usize) -> Result<usize, String> {
    let mut frames = 0;
    while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
        let length = u32::from_le_bytes(*head) as usize;
        if length != expected {
            return Err(format!("a message of {length} bytes arrived"));
        }
        let Some(rest) = rest.get(length..) else { break };
        (bytes, frames) = (rest, frames + 1);
    }
    Ok(frames)
}

fn time_trips(job: &Job, mut socket: UnixStream) -> Result<Outcome, Box<dyn Error>> {
    let asked = frame(job.bytes);
    let mut answer = vec![0; asked.len()];
    let mut trips = Trips::new(job, Instant::now());
    loop {
        socket.write_all(&asked)?;
        socket.read_exact(&mut answer)?;
        if let Some(outcome) = trips.back(Instant::now()) {
            return if answer == asked { Ok(outcome) } else { Err("the echo is not what was sent".into()) };
        }
    }
}

/// A message and its length before it.
fn frame(bytes: usize) -> Vec<u8> {
    let mut frame = (bytes as u32).to_le_bytes().to_vec();
    frame.resize(HEAD + bytes, b'x');
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_frames_count() {
        let stream = frame(10).repeat(3);
        for (length, frames) in [(0, 0), (3, 0), (4, 0), (13, 0), (14, 1), (27, 1), (28, 2), (42, 3)] {
            assert_eq!(whole_frames(&stream[..length], 10), Ok(frames), "of {length} bytes");
        }
    }

    #[test]
    fn a_frame_of_another_length_is_an_error() {
        let err = whole_frames(&[frame(10), frame(11)].concat(), 10).expect_err("11 bytes are not 10");
        assert!(err.contains("11 bytes"), "{err}");
    }
}
