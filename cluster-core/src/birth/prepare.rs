//! What is done once per generation before its first worker: in a child of the fork server, which waits for it.
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{fs, process, thread};

use futures::FutureExt as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, killpg};
use nix::unistd::{Pid, getpid, getppid, setpgid};
use tokio::sync::oneshot;

use crate::birth::checks::{SingleThreaded, no_trace_of_tokio};
use crate::birth::forkserver::flush_output;
use crate::birth::hooks::PrepareHook;
use crate::birth::newborn;
use crate::config::{Runtime, Settings};
use crate::error::{StartError, panic_text};
use crate::event::Ending;
use crate::ipc::control::{self, FromForkServer, PROTOCOL};
use crate::ipc::handler::Called;
use crate::program::Blueprint;
use crate::supervise::force;
use crate::sys::fork::{self, Side};
use crate::sys::process::{pidfd_open, reap};
use crate::sys::{descriptors, identity, signals};

/// The name of its process.
pub(crate) const PROCESS_NAME: &str = "prepare";
/// The exit code of one that failed.
const FAILED: i32 = 1;

/// The primary is gone: there is nothing to prepare for.
#[derive(Debug)]
pub(crate) struct NoPrimary;

/// Runs all of them, in turn, in one child, and waits for it. The inner error says why it has failed.
pub(crate) fn run(
    control: &OwnedFd,
    blueprint: &Blueprint,
    all: Vec<PrepareHook>,
) -> Result<Result<(), String>, NoPrimary> {
    if all.is_empty() {
        return Ok(Ok(()));
    }
    match begin(blueprint, all) {
        Ok(child) => child.wait(control),
        Err(err) => Ok(Err(err.to_string())),
    }
}

/// The child as the fork server sees it.
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    /// Where it says why it has failed.
    word: io::PipeReader,
}

fn begin(blueprint: &Blueprint, all: Vec<PrepareHook>) -> Result<Child, StartError> {
    let proof = SingleThreaded::check()?;
    no_trace_of_tokio()?;
    let (word, theirs) = io::pipe().map_err(StartError::system("pipe"))?;
    flush_output();
    let parent = getpid();
    match fork::fork(&proof).map_err(StartError::system("fork"))? {
        Side::Child => {
            drop(word);
            live(parent, &proof, blueprint, all, theirs)
        }
        Side::Parent(pid) => {
            // Its group exists BEFORE anyone hears of it, so a kill of the group cannot miss it.
            let _ = setpgid(pid, pid);
            let pidfd = pidfd_open(pid).map_err(|err| {
                crate::sys::process::discard(pid);
                StartError::system("pidfd_open")(err)
            })?;
            Ok(Child { pid, pidfd, word })
        }
    }
}

impl Child {
    fn wait(mut self, control: &OwnedFd) -> Result<Result<(), String>, NoPrimary> {
        // The primary ends what is left of it, should this process be killed meanwhile.
        let word = FromForkServer::Preparing { pid: self.pid.as_raw() };
        let told = control::send(control.as_fd(), &word, &[self.pidfd.as_fd()]);
        let lives = told.is_ok() && self.outlived_by(control);
        // BEFORE it is reaped, as long as the number is its: what it has left behind goes with it.
        let _ = force::end_group(self.pid);
        let ended = self.reap();
        if !lives {
            return Err(NoPrimary);
        }
        if ended.as_ref().is_ok_and(|status| status.success()) {
            return Ok(Ok(()));
        }
        let mut why = String::new();
        // What it has started may hold the other end open, and is not waited for.
        let _ = descriptors::set_nonblocking(self.word.as_fd());
        let _ = self.word.read_to_string(&mut why);
        if why.is_empty() {
            why = ended.map_or_else(|err| err.to_string(), |status| Ending(status).to_string());
        }
        Ok(Err(why))
    }

    /// Waits for its end. Answers whether the primary was there until then.
    fn outlived_by(&self, control: &OwnedFd) -> bool {
        loop {
            // Nothing is said to a fork server before it has greeted: it is told of the end of the line alone.
            let mut fds = [
                PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN),
                PollFd::new(control.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => {}
                Err(_) => return false,
                Ok(_) if fds[0].any() == Some(true) => return true,
                Ok(_) => return false,
            }
        }
    }

    /// It has ended, or is about to.
    fn reap(&self) -> nix::Result<process::ExitStatus> {
        loop {
            if let Some((status, _)) = reap(self.pidfd.as_fd())? {
                return Ok(status);
            }
            let mut fds = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE);
        }
    }
}

/// In a process that was executed for this alone: does it on the ambient runtime, tells the primary, and ends.
pub(crate) async fn alone(control: OwnedFd, settings: &Settings, all: Vec<PrepareHook>) -> ! {
    let done = match settle(&control, settings) {
        Ok(()) => call_here(all).await,
        Err(err) => Err(err.to_string()),
    };
    let (word, code) = match done {
        Ok(()) => (FromForkServer::Hello { protocol: PROTOCOL }, 0),
        Err(why) => (FromForkServer::Unprepared { error: control::text(why) }, FAILED),
    };
    let told = control::send(control.as_fd(), &word, &[]);
    process::exit(if told.is_ok() { code } else { FAILED })
}

/// As a worker that was executed: name, score, directory, and an eye on the primary.
fn settle(control: &OwnedFd, settings: &Settings) -> Result<(), StartError> {
    newborn::name_process(PROCESS_NAME);
    newborn::raise_oom_score();
    newborn::enter(settings.process.directory.as_deref())?;
    let line = control.try_clone().map_err(StartError::system("dup"))?;
    let watch = move || {
        let mut fds = [PollFd::new(line.as_fd(), PollFlags::empty())];
        while poll(&mut fds, PollTimeout::NONE) == Err(Errno::EINTR) {}
        // The primary is gone: what was started here goes, too.
        let _ = killpg(getpid(), Signal::SIGKILL);
    };
    let watching = thread::Builder::new().name("sentinel".into()).spawn(watch);
    watching.map(drop).map_err(StartError::system("cannot start the sentinel"))
}

/// As `call`, where there is a runtime: what is sync gets a thread of its own, to block as it likes.
async fn call_here(all: Vec<PrepareHook>) -> Result<(), String> {
    for hook in all {
        let (done, end) = oneshot::channel();
        thread::Builder::new()
            .name(PROCESS_NAME.into())
            .spawn(move || done.send(catch_unwind(AssertUnwindSafe(hook))))
            .map_err(|err| format!("cannot start its thread: {err}"))?;
        let called = end.await.map_err(|_| "its thread is gone".to_owned())?;
        let ended = match called {
            Ok(Called::Done(result)) => Ok(result),
            Ok(Called::Later(future)) => AssertUnwindSafe(future).catch_unwind().await,
            Err(panic) => Err(panic),
        };
        ended.unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))?;
    }
    Ok(())
}

/// The child itself.
fn live(
    parent: Pid,
    proof: &SingleThreaded,
    blueprint: &Blueprint,
    all: Vec<PrepareHook>,
    mut word: io::PipeWriter,
) -> ! {
    let mut fails = |why: &str, code: i32| -> ! {
        let _ = word.write_all(control::text(why).as_bytes());
        process::exit(code)
    };
    if let Err(err) = become_itself(parent, proof, blueprint) {
        fails(&err.to_string(), FAILED)
    }
    let runtime = blueprint.settings.runtime.clone().unwrap_or_default();
    // A fresh thread, as a worker has one: what `main` keeps in thread-local storage is not shared.
    let thread = thread::Builder::new()
        .name(PROCESS_NAME.into())
        .stack_size(newborn::stack_size())
        .spawn(move || catch_unwind(AssertUnwindSafe(|| call(all, &runtime))));
    let ended = match thread {
        Ok(thread) => thread.join().and_then(|ended| ended),
        Err(err) => fails(&format!("cannot start its thread: {err}"), FAILED),
    };
    match ended {
        Ok(Ok(())) => process::exit(0),
        Ok(Err(why)) => fails(&why, FAILED),
        Err(panic) => fails(&panic_text(panic.as_ref()), newborn::PANIC_CODE),
    }
}

/// Calls them in turn, up to the first that fails.
fn call(all: Vec<PrepareHook>, runtime: &Runtime) -> Result<(), String> {
    let mut built = None;
    for hook in all {
        match hook() {
            Called::Done(result) => result?,
            Called::Later(future) => {
                let runtime = match built.take() {
                    Some(runtime) => runtime,
                    None => runtime.build().map_err(|err| format!("cannot build the runtime: {err}"))?,
                };
                built.insert(runtime).block_on(future)?;
            }
        }
    }
    if let Some(runtime) = built {
        // What it has left running is over.
        runtime.shutdown_background();
    }
    Ok(())
}

/// As a worker: its signals, its identity and limits; but it dies with its parent.
fn become_itself(parent: Pid, proof: &SingleThreaded, blueprint: &Blueprint) -> Result<(), StartError> {
    let failed = StartError::system::<nix::Error>;
    let Blueprint { settings, identity, .. } = blueprint;
    identity.environment().iter().for_each(|(name, value)| identity::set_variable(proof, name, value));
    setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed("setpgid"))?;
    let null = fs::File::open("/dev/null").map_err(StartError::system("cannot open /dev/null"))?;
    descriptors::place(null.as_fd(), 0).map_err(StartError::system("dup2"))?;
    newborn::name_process(PROCESS_NAME);
    newborn::raise_oom_score();
    // AFTER the name and the score: the files in /proc are root's from then on.
    identity.take_on(None)?;
    // AFTER it: another user has cleared it (prctl(2)).
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed("PR_SET_PDEATHSIG"))?;
    if getppid() != parent {
        fork::exit_now(FAILED);
    }
    newborn::enter(settings.process.directory.as_deref())?;
    // As in a worker: a client that hangs up, and a terminal that does not want a background group to write.
    [Signal::SIGPIPE, Signal::SIGTTOU]
        .into_iter()
        .try_for_each(signals::ignore)
        .map_err(StartError::system("sigaction"))?;
    // The fork server has all blocked.
    SigSet::empty().thread_set_mask().map_err(failed("sigprocmask"))
}
