//! When this program is interrupted, what it has started is stopped too: destructors do not run then.
use std::future::Future;
use std::task::Poll;
use std::{future, io, process, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::error::Error;
use crate::{footprint, scratch};

/// From now on SIGINT, SIGTERM and SIGHUP stop this program's children, then itself.
///
/// By handlers, which a program that is started does not inherit; a signal mask it would.
pub(crate) fn tidy_up_when_interrupted() -> Result<(), Error> {
    let watch = || -> io::Result<_> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let interrupted = runtime.block_on(async { interruption() })?;
        Ok((runtime, interrupted))
    };
    let (runtime, interrupted) = watch().map_err(Error::Signals)?;
    thread::spawn(move || {
        let signal = runtime.block_on(interrupted);
        // A primary stops its workers; a peer's workers end with it.
        for pid in footprint::children(process::id()) {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGTERM);
        }
        scratch::remove_all();
        process::exit(128 + signal as i32)
    });
    Ok(())
}

/// Resolves with the first of the signals.
fn interruption() -> io::Result<impl Future<Output = Signal> + Send> {
    let mut signals = Vec::new();
    for (which, kind) in [
        (Signal::SIGINT, SignalKind::interrupt()),
        (Signal::SIGTERM, SignalKind::terminate()),
        (Signal::SIGHUP, SignalKind::hangup()),
    ] {
        signals.push((which, signal(kind)?));
    }
    Ok(future::poll_fn(move |cx| {
        let came =
            signals.iter_mut().find_map(|(which, signal)| signal.poll_recv(cx).is_ready().then_some(*which));
        came.map_or(Poll::Pending, Poll::Ready)
    }))
}
