//! A program that breaks the protocols: `garbler fork|await ADDR`. It answers one line per connection.
//!
//! `round SLOT` asks all but that slot's, `round -` all, `CASE` has this worker do the case's wrong to its primary, `director NUMBER CASE` the
//! director that has this number.
use std::future::IntoFuture;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;
use std::{env, fs};

use cluster_core::testing::lines::Lines;
use cluster_core::{Ask, BoxError, Cluster, Connection, Error, Ready, Restart, Slot, To, Worker, WorkerRef};
use cluster_tests::wire::{self, Frame, kind, write};
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{MsgFlags, send};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    let [_, method, addr, ..] = &arguments[..] else {
        eprintln!("usage: garbler fork|await ADDR");
        return ExitCode::from(2);
    };
    let ended = match method.as_str() {
        "fork" => cluster(addr).run(),
        _ => run_await(addr),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => err.report(),
    }
}

fn run_await(addr: &str) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let cluster = cluster(addr);
    runtime.expect("a runtime").block_on(cluster.into_future())
}

/// Whoever is asked answers with the same.
#[derive(Serialize, Deserialize)]
struct Echo(String);

impl Ask for Echo {
    type Answer = String;
}

/// The director, which has this number, is to do this wrong.
#[derive(Serialize, Deserialize)]
struct Garble(u64, String);

fn cluster(addr: &str) -> Ready {
    let at_once =
        Restart::default().delay(Duration::ZERO, Duration::ZERO).limit(1_000_000, Duration::from_secs(1));
    let mut builder = Cluster::builder().workers(3).restart(at_once);
    // A false primary gives no sockets: without an address there is nothing to listen on.
    if addr != "-" {
        builder = builder.bind("line", addr);
    }
    builder
        .on_ask(|_: WorkerRef, Echo(text)| async move { Ok::<_, BoxError>(text) })
        .on_message(|Garble(number, case)| garble(&case, wire::director(number)))
        .worker(serve)
}

async fn serve(worker: Worker) -> Result<(), BoxError> {
    worker.on_ask(|_, Echo(text)| async move { Ok::<_, BoxError>(text) });
    let Ok(mut acceptor) = worker.acceptor("line") else {
        worker.ready();
        worker.draining().await;
        return Ok(());
    };
    while let Some(connection) = acceptor.accept().await {
        let current = worker.clone();
        worker.spawn(async move {
            // A client that went away is no matter of this test.
            let _ = converse(current, connection).await;
        });
    }
    Ok(())
}

async fn converse(worker: Worker, connection: Connection) -> io::Result<()> {
    let mut connection = BufReader::new(connection);
    let mut line = String::new();
    connection.read_line(&mut line).await?;
    let line = line.trim_end();
    let me = worker.id().0;
    let answer = match line.split_once(' ') {
        Some(("round", without)) => {
            let asked = round(&worker, without.parse().ok()).await;
            asked.map_or_else(|err| err.to_string(), |()| "all".to_owned())
        }
        Some(("director", what)) => match worker.send(&for_director(what)?).await {
            Ok(()) => "sent".to_owned(),
            Err(err) => err.to_string(),
        },
        _ => me.to_string(),
    };
    connection.write_all(format!("{answer}\n").as_bytes()).await?;
    connection.shutdown().await?;
    // AFTER the answer: it may be the last thing that this worker does.
    garble(line, wire::worker(me))
}

fn for_director(what: &str) -> io::Result<Garble> {
    let (number, case) = what.split_once(' ').ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Garble(number.parse().map_err(io::Error::other)?, case.to_owned()))
}

/// Asks all workers, but the one that has this slot, and the director.
async fn round(worker: &Worker, without: Option<usize>) -> Result<(), BoxError> {
    let question = Echo("are you there".to_owned());
    for slot in (0..worker.slots()).filter(|slot| Some(*slot) != without) {
        worker.ask(To::Slot(Slot(slot as u16)), &question).await?;
    }
    worker.ask(To::Primary, &question).await?;
    Ok(())
}

/// Does what the case is called, in the name of `me`.
fn garble(case: &str, me: u64) -> io::Result<()> {
    let lines = Lines::of_this_process()?;
    let say = |bytes: &[u8]| write(&lines.messages, bytes, &[]);
    let frame = |kind, to| Frame::new(kind, me, to);
    let other = wire::slot(u16::MAX);
    match case {
        "noise" => say(&[0xaa; 5000]),
        "endless-noise" => endless(&lines.messages),
        "version" => say(&Frame { version: 9, ..frame(kind::MESSAGE, other) }.bytes()),
        "kind" => say(&frame(77, other).bytes()),
        "flags" => say(&Frame { flags: 4, ..frame(kind::MESSAGE, other) }.bytes()),
        "length" => say(&[0xff, 0xff, 0xff, 0x7f]),
        "short" => say(&[1, 0, 0, 0, 1]),
        "address" => say(&frame(kind::MESSAGE, 99 << 56).bytes()),
        "forged" => say(&Frame::new(kind::MESSAGE, wire::worker(4711), other).bytes()),
        "notice" => say(&frame(kind::NOTICE, wire::slot(0)).bytes()),
        "word" => say(&frame(kind::WORD, wire::EXCHANGE).body(&[0xff; 9]).bytes()),
        "report" => say(&frame(kind::REPORT, wire::EXCHANGE).body(&[0xff; 9]).bytes()),
        "credit" => [0, 1, 2, 3, 4]
            .iter()
            .try_for_each(|id| say(&frame(kind::CREDIT, wire::worker(*id)).body(&[0xff; 9]).bytes())),
        "refusal" => say(&frame(kind::REFUSAL, wire::DIRECTOR).body(&[0xff; 9]).bytes()),
        "half" => {
            say(&frame(kind::MESSAGE, other).body(&[1; 100]).bytes()[..60])?;
            nix::sys::socket::shutdown(lines.messages.as_raw_fd(), nix::sys::socket::Shutdown::Write)?;
            Ok(())
        }
        "stray" => write(&lines.messages, &frame(kind::MESSAGE, other).bytes(), &[&null()?]),
        "many-strays" => {
            let nulls = (0..200).map(|_| null()).collect::<io::Result<Vec<_>>>()?;
            write(&lines.messages, &[40], &nulls.iter().collect::<Vec<_>>())
        }
        "no-descriptor" => say(&frame(kind::MESSAGE, other).parcel(5).bytes()),
        "to-nobody" => say(&frame(kind::MESSAGE, wire::worker(4711)).bytes()),
        "to-no-slot" => say(&frame(kind::MESSAGE, other).bytes()),
        "parcel-to-nobody" => write(
            &lines.messages,
            &frame(kind::MESSAGE, wire::worker(4711)).parcel(u64::MAX).bytes(),
            &[&null()?],
        ),
        "parcel-not-sealed" => {
            parcel(&lines, &frame(kind::MESSAGE, wire::DIRECTOR), &memory(100, false)?, 100)
        }
        "parcel-other-length" => {
            parcel(&lines, &frame(kind::MESSAGE, wire::DIRECTOR), &memory(100, true)?, 99)
        }
        "parcel-no-memory" => parcel(&lines, &frame(kind::MESSAGE, wire::DIRECTOR), &null()?, 100),
        "parcel-of-holes" => {
            let len = 1 << 40;
            parcel(&lines, &frame(kind::MESSAGE, wire::DIRECTOR), &memory(len, true)?, len)
        }
        "questions" => questions(&lines.messages, &frame(kind::ASK, wire::worker(4711)).bytes()),
        _ if case.starts_with("parcels ") => {
            let to = case["parcels ".len()..].parse().map_err(io::Error::other)?;
            parcels(&lines.messages, &frame(kind::MESSAGE, wire::slot(to)).parcel(5).bytes())
        }
        _ if case.starts_with("mutated ") => {
            let seed = case["mutated ".len()..].parse().map_err(io::Error::other)?;
            mutated(&lines.messages, me, seed)
        }
        "control-noise" => write(&lines.control, &[0xff; 99], &[]),
        "control-empty" => write(&lines.control, &[], &[]),
        "control-long" => write(&lines.control, &vec![1; 100_000], &[]),
        // Sound, and no end of it.
        "control-flood" => {
            std::thread::spawn(move || flood(&lines.control));
            Ok(())
        }
        "control-descriptors" => write(&lines.control, &[0xff; 9], &[&null()?, &null()?]),
        _ => Ok(()),
    }
}

/// Sound frames of many kinds, changed as the seed says; and then the end of the stream.
fn mutated(socket: &OwnedFd, me: u64, seed: u64) -> io::Result<()> {
    let frame = |kind, to| Frame::new(kind, me, to).body(&[7; 100]);
    let frames = [
        frame(kind::MESSAGE, wire::slot(0)),
        frame(kind::MESSAGE, wire::slot(1)),
        frame(kind::MESSAGE, wire::worker(1)),
        frame(kind::MESSAGE, wire::OTHERS),
        frame(kind::MESSAGE, wire::DIRECTOR),
        frame(kind::ASK, wire::DIRECTOR),
        frame(kind::ASK, wire::slot(2)),
    ];
    for bytes in wire::mutated(&frames, seed) {
        write(socket, &bytes, &[])?;
    }
    // Where the noise is the body of a long frame: the end of the stream is in its midst.
    nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Write)?;
    Ok(())
}

fn null() -> io::Result<OwnedFd> {
    Ok(fs::File::open("/dev/null")?.into())
}

/// Memory of so many bytes, none of them written.
fn memory(len: u64, sealed: bool) -> io::Result<OwnedFd> {
    let memory =
        fs::File::from(memfd_create(c"garbled", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?);
    memory.set_len(len)?;
    if sealed {
        fcntl(&memory, FcntlArg::F_ADD_SEALS(SealFlag::all()))?;
    }
    Ok(memory.into())
}

fn parcel(lines: &Lines, frame: &Frame, fd: &OwnedFd, len: u64) -> io::Result<()> {
    write(&lines.messages, &frame.clone().parcel(len).bytes(), &[fd])
}

/// Noise until nobody takes it any more.
fn endless(socket: &OwnedFd) -> io::Result<()> {
    let noise: Vec<u8> = (0..=255).cycle().take(64 * 1024).collect();
    loop {
        match send(socket.as_raw_fd(), &noise, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) | Err(nix::Error::EAGAIN) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

/// Says that it is ready, until nobody takes it any more.
fn flood(control: &OwnedFd) {
    /// As the protocol encodes it.
    const READY: [u8; 1] = [2];
    loop {
        match send(control.as_raw_fd(), &READY, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) | Err(nix::Error::EAGAIN) => {}
            Err(_) => return,
        }
    }
}

/// 2000 parcels in a row, with no regard to whether they are taken. Says when the primary has read all.
fn parcels(socket: &OwnedFd, frame: &[u8]) -> io::Result<()> {
    let fd = null()?;
    for _ in 0..2000 {
        while write(socket, frame, &[&fd]).is_err_and(|err| err.kind() == io::ErrorKind::WouldBlock) {
            let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
            poll(&mut fds, 1000_u16)?;
        }
    }
    eprintln!("all parcels are taken");
    Ok(())
}

/// Questions to nobody, each of which is refused; the refusals are not read, because this thread does not
/// read. It ends where the primary has not taken one for a second.
fn questions(socket: &OwnedFd, question: &[u8]) -> io::Result<()> {
    let many = question.repeat(1000);
    let mut rest = &many[..];
    loop {
        match send(socket.as_raw_fd(), rest, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT) {
            Ok(len) => rest = if len == rest.len() { &many } else { &rest[len..] },
            Err(nix::Error::EAGAIN) => {
                let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
                if poll(&mut fds, 1000_u16)? == 0 {
                    eprintln!("nobody takes questions any more");
                    std::thread::park();
                }
            }
            Err(err) => return Err(err.into()),
        }
    }
}
