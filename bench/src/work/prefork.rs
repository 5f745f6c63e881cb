//! A plain prefork server by hand: a process per worker, a listening socket of its own in each (SO_REUSEPORT), a
//! current-thread runtime. No supervision: a worker that ends is not replaced.
use std::error::Error;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::{env, process};

use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// As ours.
const BACKLOG: i32 = 4096;

/// Runs so many workers as the first argument says; `serve` is what each does with its number and its socket.
///
/// It prints `listening on http://ADDR` when all serve, and ends when its standard input does.
///
/// # Errors
/// No number of workers, no port, or a worker that ended before it served; and whatever `serve` says.
pub fn prefork<F>(serve: impl FnOnce(String, TcpListener) -> F) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = io::Result<()>>,
{
    match crate::connect_to() {
        Some(told) => {
            let (number, addr) = told.split_once(' ').ok_or("a worker is told its number and an address")?;
            work(addr.parse()?, |listener| serve(number.to_owned(), listener))
        }
        None => supervise(env::args().nth(1).ok_or("how many workers?")?.parse()?),
    }
}

/// The parent: holds the port, which its socket that does not listen gets no connections from.
fn supervise(workers: usize) -> Result<(), Box<dyn Error>> {
    let held = bound(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let addr = held.local_addr()?.as_socket().ok_or("an address without a port")?;
    // Their standard inputs end with this process, however it ends.
    let mut children = (0..workers).map(|number| start(number, addr)).collect::<io::Result<Vec<Child>>>()?;
    for child in &mut children {
        let stdout = child.stdout.take().expect("it was asked for");
        if BufReader::new(stdout).read_line(&mut String::new())? == 0 {
            return Err("a worker ended before it served".into());
        }
    }
    println!("listening on http://{addr}");
    crate::wait_for_the_end();
    Ok(())
}

fn start(number: usize, addr: SocketAddr) -> io::Result<Child> {
    let mut command = crate::second_process(&format!("{number} {addr}"))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// A worker.
fn work<F>(addr: SocketAddr, serve: impl FnOnce(TcpListener) -> F) -> Result<(), Box<dyn Error>>
where
    F: Future<Output = io::Result<()>>,
{
    crate::end_with_whoever_started_this();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = bound(addr)?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        println!("serving");
        serve(listener).await
    })?;
    process::exit(0);
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}
