//! The plain prefork server that the core is compared with: `prefork WORKERS`. It gives the answers of `core_hello`;
//! how it runs, `bench_work::prefork` says.
#![forbid(unsafe_code)]
use std::error::Error;
use std::process;

use bench_work::Hello;

fn main() -> Result<(), Box<dyn Error>> {
    bench_work::prefork(|number, listener| async move {
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
