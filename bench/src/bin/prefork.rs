//! The plain prefork server that ours are compared with: `prefork WORKERS`.
//!
//! A process per worker, a listening socket of its own in each (SO_REUSEPORT), a current-thread runtime, the
//! answers of `core_hello`. No supervision: a worker that ends is not replaced. It prints `listening on
//! http://ADDR` when all serve, and ends when its standard input does.
#![forbid(unsafe_code)]
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::{env, process, thread};

use bench_work::Hello;
use socket2::{Domain, Socket, Type};
use tokio::net::TcpListener;

/// As ours.
const BACKLOG: i32 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    match bench_work::connect_to() {
        Some(told) => {
            let (number, addr) = told.split_once(' ').ok_or("a worker is told its number and an address")?;
            serve(number, addr.parse()?)
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
    wait_for_the_end();
    Ok(())
}

fn start(number: usize, addr: SocketAddr) -> io::Result<Child> {
    let mut command = bench_work::second_process(&format!("{number} {addr}"))?;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
}

/// A worker.
fn serve(number: &str, addr: SocketAddr) -> Result<(), Box<dyn Error>> {
    thread::spawn(|| {
        wait_for_the_end();
        process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let socket = bound(addr)?;
        socket.set_nonblocking(true)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        println!("serving");
        let hello = Hello::from(number, process::id());
        loop {
            // Asks the kernel until there is nothing more, and only then waits.
            match listener.accept().await {
                Ok((connection, _)) => drop(tokio::spawn(hello.clone().serve(connection))),
                Err(err) => eprintln!("prefork: cannot accept: {err}"),
            }
        }
    })
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// Whoever started this process holds the other end of its standard input.
fn wait_for_the_end() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
}
