//! What a worker or director does first, whichever way it came to be: signals, name, limits, sentinel, runtime.
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use std::{fs, io, process, thread};

use futures::FutureExt;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, fchown, getppid};
use tokio_util::task::TaskTracker;

use crate::birth::arrival::{Arrival, Belongings};
use crate::birth::checks::SingleThreaded;
use crate::birth::descriptor_limit;
use crate::birth::hooks::WorkerHooks;
use crate::birth::identity::Identity;
use crate::birth::memory::MemoryGauge;
use crate::birth::sentinel::Sentinel;
use crate::config::Runtime;
use crate::conn::{Means, Reception, listen};
use crate::error::{BoxError, StartError};
use crate::heartbeat::Heart;
use crate::id::{PeerId, Slot, WorkerId};
use crate::ipc::control::{self, ToPrimary, Welcome};
use crate::ipc::endpoint::Endpoint;
use crate::life::Life;
use crate::program::{Blueprint, DIRECTOR_DRAIN, MakeFuture, Program, Programs};
use crate::role::{Role, become_role, role};
use crate::sys::identity::set_variable;
use crate::sys::{descriptors, fork, signals};
use crate::worker::{Parts, Worker};

/// The exit code of a panic, as `main` has it.
pub(crate) const PANIC_CODE: i32 = 101;
/// A worker is a likelier victim of the out-of-memory killer than the primary by this much.
const OOM_SCORE: i32 = 200;

/// The name of a director's process.
pub(crate) const DIRECTOR_NAME: &str = "director";

/// Whose child a forked process is: at last, and until the other has ended.
pub(crate) struct Parents {
    pub(crate) primary: Pid,
    pub(crate) middle: Pid,
}

/// A worker or director that was just forked: becomes one for good.
pub(crate) fn live(
    control: OwnedFd,
    parents: Parents,
    role: Role,
    blueprint: Blueprint,
    mut programs: Programs,
) -> ! {
    become_role(role);
    let line = control.try_clone();
    let born = set_up_process(&parents, &blueprint.identity).and_then(|()| {
        programs.hooks.after_fork.call().map_err(StartError::Hook)?;
        let arrival = Arrival::receive(control, role)?;
        let (program, hooks) = programs.of(role)?;
        let settled = settle(arrival, role, &blueprint, hooks)?;
        // AFTER the handlers are there: until now all signals were blocked, as in the fork server, and one
        // that came meanwhile would have ended the process.
        SigSet::empty().thread_set_mask().map_err(StartError::system("sigprocmask"))?;
        Ok((settled, program))
    });
    let ((worker, sentinel), program) = match born {
        Ok(born) => born,
        Err(err) => {
            tell_failure(line, &err);
            fork::exit_now(1)
        }
    };
    drop(line);
    let runtime = blueprint.settings.runtime.clone().unwrap_or_default();
    let serving = worker.clone();
    // A fresh thread: what `main` keeps in thread-local storage (random generators, hash keys, the current
    // dispatcher) would be the same in all workers.
    let thread =
        thread::Builder::new().name(name_of(role).into()).stack_size(stack_size()).spawn(move || {
            let mut built = None;
            let served = catch_unwind(AssertUnwindSafe(|| serve(serving, &runtime, program, &mut built)));
            let (code, error) = outcome(served);
            worker.program_ended(error);
            // AFTER the word: blocking tasks may never end, and a program that has is not held up by them.
            if let Some(runtime) = built {
                runtime.shutdown_background();
            }
            code
        });
    let code = match thread {
        Ok(thread) => {
            sentinel.watch();
            thread.join().unwrap_or(PANIC_CODE)
        }
        Err(err) => {
            crate::event::warn(&format!("cannot start the program's thread: {err}"));
            1
        }
    };
    process::exit(code)
}

fn name_of(role: Role) -> &'static str {
    match role {
        Role::Director => DIRECTOR_NAME,
        Role::Primary | Role::ForkServer | Role::Worker => "worker",
    }
}

/// A worker or director that was executed and has reached its `.await`: the sentinel gets a thread of its own, the rest
/// is the program's.
pub(crate) fn join_in(
    arrival: Arrival,
    role: Role,
    blueprint: &Blueprint,
    hooks: WorkerHooks,
) -> Result<Worker, StartError> {
    let line = arrival.control.try_clone();
    let (worker, sentinel) =
        settle(arrival, role, blueprint, hooks).inspect_err(|err| tell_failure(line, err))?;
    thread::Builder::new()
        .name("sentinel".into())
        .spawn(move || sentinel.watch_for_ever())
        .map_err(StartError::system("cannot start the sentinel"))?;
    Ok(worker)
}

/// There will be no worker: the primary is told why.
pub(crate) fn refuse(arrival: &Arrival, err: StartError) -> StartError {
    tell_failure(arrival.control.try_clone(), &err);
    err
}

/// Tells the primary why there will be no worker.
fn tell_failure(line: io::Result<OwnedFd>, err: &StartError) {
    let word = ToPrimary::BootFailed { error: control::text(err) };
    // Where it is gone nobody hears it but whoever reads standard error.
    if line.and_then(|line| control::try_send_with(line.as_fd(), &word, &[])).is_err() {
        crate::event::warn(&format!("a {} could not be set up: {err}", name_of(role())));
    }
}

/// What fork leaves to do that an exec would have done, and what must be right before anything else.
fn set_up_process(parents: &Parents, identity: &Identity) -> Result<(), StartError> {
    let failed = StartError::system::<nix::Error>;
    if !identity.environment().is_empty() {
        // BEFORE the first code of the user's, which may start threads.
        let proof = SingleThreaded::check()?;
        identity.environment().iter().for_each(|(name, value)| set_variable(&proof, name, value));
    }
    // The parent has done it too; whoever comes first, it is done before it matters.
    nix::unistd::setpgid(Pid::from_raw(0), Pid::from_raw(0)).map_err(failed("setpgid"))?;
    let null = fs::File::open("/dev/null").map_err(StartError::system("cannot open /dev/null"))?;
    descriptors::place(null.as_fd(), 0).map_err(StartError::system("dup2"))?;
    wait_for_end_of(parents.middle);
    nix::sys::prctl::set_pdeathsig(Signal::SIGCONT).map_err(failed("PR_SET_PDEATHSIG"))?;
    if getppid() != parents.primary {
        fork::exit_now(0);
    }
    Ok(())
}

/// Waits until the middle process has ended: only then is the primary the parent, and only a death signal
/// set after that is the primary's (prctl(2): it is the parent's at the time of the call).
fn wait_for_end_of(middle: Pid) {
    while getppid() == middle {
        // A pidfd that cannot be opened is of a process that has just ended.
        if let Ok(pidfd) = crate::sys::process::pidfd_open(middle) {
            let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut fds, PollTimeout::NONE);
        }
    }
}

/// The part that both methods share: standard error, name, signals, the handle, the sentinel.
fn settle(
    arrival: Arrival,
    role: Role,
    blueprint: &Blueprint,
    hooks: WorkerHooks,
) -> Result<(Worker, Sentinel), StartError> {
    let Arrival { control, welcome, belongings } = arrival;
    let Belongings { page, stderr, messages, bell, rota, secrets, passing, ledger } =
        belongings.ok_or(StartError::Attach(io::ErrorKind::InvalidData.into()))?;
    let page = Arc::new(page);
    descriptors::place(stderr.write.as_fd(), 2).map_err(StartError::system("dup2"))?;
    // Takes a descriptor: one that is out of them must still be able to say so.
    let _ = crate::event::voice();
    let is_director = role == Role::Director;
    let gauge = change(&welcome, is_director, blueprint)?;
    let life = Arc::new(Life::new().map_err(StartError::system("eventfd"))?);
    set_up_signals(&life).map_err(StartError::system("sigaction"))?;
    let sockets = listen::take();
    let for_sentinel = sockets
        .iter()
        .map(|socket| socket.listener.try_clone())
        .collect::<Result<_, _>>()
        .map_err(StartError::system("dup"))?;
    let ours = control.try_clone().map_err(StartError::system("dup"))?;
    let peer = if is_director { PeerId::Director(welcome.id) } else { PeerId::Worker(WorkerId(welcome.id)) };
    let endpoint = Endpoint::new(peer, welcome.director, welcome.slots, messages, TaskTracker::new());
    let means = Means {
        page: page.clone(),
        bell: Arc::new(bell),
        rota: Arc::new(rota),
        slot: Slot(welcome.slot),
        passing: passing.map(Arc::new),
        ledger,
    };
    let reception = Reception::new(sockets, means, &blueprint.settings.limits);
    let worker = Worker::new(Parts {
        id: WorkerId(welcome.id),
        slot: Slot(welcome.slot),
        slots: usize::from(welcome.slots),
        generation: welcome.generation,
        life: life.clone(),
        lame_duck: blueprint.settings.lame_duck,
        // A director has no connections to be ready for: it says so itself.
        wait_for_ready: blueprint.settings.wait_for_ready || is_director,
        listeners: blueprint.listeners.clone(),
        page: Some(page.clone()),
        heart: blueprint.settings.hang.map(|limit| Heart::new(page.clone(), limit, life.turned_on.clone())),
        reception: Some(reception),
        control: Some(ours),
        secrets: Some(secrets),
        endpoint,
        hooks,
    });
    if !is_director {
        worker.install();
    }
    control::try_send(control.as_fd(), &ToPrimary::Online).map_err(StartError::Attach)?;
    let mut drain_timeout = blueprint.settings.drain_timeout;
    if is_director {
        // The primary waits for so long at least.
        drain_timeout = drain_timeout.max(DIRECTOR_DRAIN);
    }
    let sentinel = Sentinel::new(control, life, page, stderr, for_sentinel, drain_timeout, gauge);
    Ok((worker, sentinel))
}

/// Becomes what it is to be to the system: name, score, limits, identity, directory.
fn change(welcome: &Welcome, is_director: bool, blueprint: &Blueprint) -> Result<MemoryGauge, StartError> {
    if is_director {
        name_process(DIRECTOR_NAME);
    } else {
        name_process(&format!("worker {}", welcome.slot));
    }
    let primary = getppid();
    raise_oom_score();
    // A forked one has it from its parent already.
    if !blueprint.settings.process.limits_descriptors() {
        descriptor_limit::raise();
    }
    let gauge = MemoryGauge::open();
    if let Some(owner) = blueprint.identity.owner() {
        // Who opens /dev/stderr anew must own it. Best effort: who cannot still writes to the descriptor.
        let _ = fchown(io::stderr(), Some(owner), None);
    }
    // AFTER the name and the score: the files in /proc are root's from then on.
    blueprint.identity.take_on((!is_director).then_some(Slot(welcome.slot)))?;
    // AFTER it: another user has cleared it, and so has executing a file with capabilities (prctl(2)).
    nix::sys::prctl::set_pdeathsig(Signal::SIGCONT).map_err(StartError::system("PR_SET_PDEATHSIG"))?;
    if getppid() != primary {
        return Err(StartError::Attach(io::ErrorKind::BrokenPipe.into()));
    }
    enter(blueprint.settings.process.directory.as_deref())?;
    Ok(gauge)
}

/// Changes the working directory, as whoever this process is by now.
pub(crate) fn enter(directory: Option<&Path>) -> Result<(), StartError> {
    let Some(directory) = directory else { return Ok(()) };
    std::env::set_current_dir(directory)
        .map_err(|source| StartError::Step { call: format!("chdir({})", directory.display()), source })
}

/// TERM drains. What a terminal or an operator sends to the whole group is the primary's business.
fn set_up_signals(life: &Life) -> io::Result<()> {
    // At its default it would kill the worker whose client has reset (write(2), EPIPE).
    signals::ignore(Signal::SIGPIPE)?;
    signals::ring_at(Signal::SIGTERM, life.for_sentinel.clone(), life.leave.clone())?;
    // Ignored, not handled: a handler makes a write to a terminal with `stty tostop` fail with EINTR
    // again and again, because a worker is in a background group (termios(3), TOSTOP).
    signals::ignore(Signal::SIGTTOU)?;
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTSTP, SIGTTIN, SIGUSR1, SIGUSR2};
    [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTTIN, SIGTSTP].into_iter().try_for_each(signals::quieten)
}

/// The name that `ps` and `top` show for the process's main thread.
pub(crate) fn name_process(name: &str) {
    if let Ok(name) = std::ffi::CString::new(name) {
        // In the exec method this is not the main thread; /proc names the process by that one.
        let _ = fs::write("/proc/self/comm", name.as_bytes());
    }
}

pub(crate) fn raise_oom_score() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let now = fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok()).unwrap_or(0);
    // Best effort: without /proc a worker serves as well.
    let _ = fs::write(FILE, (now + OOM_SCORE).min(1000).to_string());
}

/// As large as the main thread's would have been.
pub(crate) fn stack_size() -> usize {
    const UNLIMITED: usize = 8 << 20;
    match getrlimit(Resource::RLIMIT_STACK) {
        Ok((soft, _)) if soft != nix::libc::RLIM_INFINITY => usize::try_from(soft).unwrap_or(UNLIMITED),
        _ => UNLIMITED,
    }
}

/// Runs the program on a runtime of the worker's own, which is left in `built`.
fn serve(
    worker: Worker,
    runtime: &Runtime,
    program: Program,
    built: &mut Option<tokio::runtime::Runtime>,
) -> Result<(), BoxError> {
    match program {
        Program::Future(make) => {
            let runtime = runtime.build().map_err(|err| format!("cannot build the runtime: {err}"))?;
            built.insert(runtime).block_on(run(worker, make))
        }
        Program::Blocking(serve) => serve(worker, runtime.clone()),
    }
}

/// Makes the program's future and waits for it and what it began.
pub(crate) async fn run(worker: Worker, make: MakeFuture) -> Result<(), BoxError> {
    let own = worker.clone();
    let mut program = Box::pin(
        AssertUnwindSafe(async move {
            own.begin().await?;
            make(own).await
        })
        .catch_unwind(),
    );
    // BEFORE the first message is heard the program has had a turn: handlers that it registers there miss none
    // of those that have waited for this process, however many they are.
    let begun = futures::poll!(&mut program);
    tokio::spawn(worker.attend());
    let ended = match begun {
        Poll::Ready(ended) => ended,
        Poll::Pending => program.await,
    };
    worker.finish(ended).await
}

/// The exit code and the error to tell, of a program that has ended.
fn outcome(ended: thread::Result<Result<(), BoxError>>) -> (i32, Option<String>) {
    let code = match &ended {
        Ok(Ok(())) => 0,
        Ok(Err(_)) => 1,
        Err(_) => PANIC_CODE,
    };
    (code, error_of(&ended))
}

/// The error to tell of a program that has ended.
pub(crate) fn error_of(ended: &thread::Result<Result<(), BoxError>>) -> Option<String> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(err)) => Some(control::text(chain(err.as_ref()))),
        Err(panic) => Some(control::text(crate::error::panic_text(panic.as_ref()))),
    }
}

/// An error with its causes.
pub(crate) fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
