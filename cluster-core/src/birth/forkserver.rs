//! The fork server: one thread that receives a request, forks, replies. It never touches Tokio.
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

use crate::birth::checks::{SingleThreaded, no_trace_of_tokio};
use crate::birth::descriptor_limit;
use crate::birth::hooks::{ForkHooks, PrepareHook};
use crate::birth::newborn::{self, Parents, name_process};
use crate::birth::prepare::{self, NoPrimary};
use crate::birth::service_variables;
use crate::conn::listen;
use crate::error::StartError;
use crate::id::PeerId;
use crate::ipc::control::{self, FromForkServer, PROTOCOL, Received, ToForkServer};
use crate::program::{Blueprint, Programs};
use crate::role::{Role, become_role};
use crate::sys::channel;
use crate::sys::fork::{self, Grandchild, Side};

/// The name of its process.
pub(crate) const PROCESS_NAME: &str = "fork server";

/// A fork server as the process that started it sees it.
pub(crate) struct Started {
    pub(crate) control: OwnedFd,
    pub(crate) pid: Pid,
}

/// Forks the first fork server. In the fork server this never returns.
///
/// The programs are moved there: the primary has no copy that could run.
pub(crate) fn start(blueprint: Blueprint, programs: Programs) -> Result<Started, StartError> {
    let proof = SingleThreaded::check()?;
    no_trace_of_tokio()?;
    let (control, theirs) = channel::pair().map_err(StartError::system("socketpair"))?;
    flush_output();
    let primary = nix::unistd::getpid();
    match fork::fork(&proof).map_err(StartError::system("fork"))? {
        Side::Parent(pid) => Ok(Started { control, pid }),
        Side::Child => {
            drop(control);
            // Here, for all that it forks. What is executed does not get them.
            service_variables::forget(&proof);
            serve(theirs, primary, blueprint, programs, Preparation::Due)
        }
    }
}

/// Whether this generation has been prepared for.
pub(crate) enum Preparation {
    /// Not yet: this is its first fork server, or none before it has come so far.
    Due,
    Done,
}

/// Forks on request until the primary is gone. Returns never: not here, and not in what it forks.
pub(crate) fn serve(
    control: OwnedFd,
    primary: Pid,
    blueprint: Blueprint,
    mut programs: Programs,
    preparation: Preparation,
) -> ! {
    become_role(Role::ForkServer);
    name_process(PROCESS_NAME);
    // What it forks has it from here.
    descriptor_limit::raise();
    // It ends with its primary and by nothing else; what it forks empties the mask again.
    let _ = SigSet::all().thread_block();
    // One that is stopped when the primary dies is continued, and sees it.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGCONT);
    if getppid() != primary {
        fork::exit_now(0);
    }
    // Workers and directors get the sockets with their welcome; here they would only keep them open.
    drop(listen::take());
    // Also where they are not called: what it forks has no use for them.
    let hooks = std::mem::take(&mut programs.hooks.prepare);
    if let Preparation::Due = preparation {
        prepare(&control, &blueprint, hooks);
    }
    // AFTER that: from here on it is asked for workers.
    if control::send(control.as_fd(), &FromForkServer::Hello { protocol: PROTOCOL }, &[]).is_err() {
        fork::exit_now(1);
    }
    loop {
        let Received { message: ToForkServer::Fork { peer }, mut fds, .. } =
            match control::receive(control.as_fd(), true) {
                Ok(Some(request)) => request,
                // The primary is gone, or speaks what we do not understand.
                Ok(None) | Err(_) => fork::exit_now(0),
            };
        let Some(line) = fds.pop() else { fork::exit_now(1) };
        match fork_peer(&control, peer, &mut programs.hooks.before_fork) {
            Ok(Grandchild::Parent) => {}
            Ok(Grandchild::Newborn { middle }) => {
                drop(control);
                newborn::live(line, Parents { primary, middle }, role_of(peer), blueprint, programs)
            }
            Err(err) => tell(&control, &FromForkServer::Stillborn { peer, error: control::text(err) }, None),
        }
    }
}

/// Where it fails there will be no worker of this generation.
fn prepare(control: &OwnedFd, blueprint: &Blueprint, hooks: Vec<PrepareHook>) {
    match prepare::run(control, blueprint, hooks) {
        Ok(Ok(())) => {}
        Ok(Err(why)) => {
            tell(control, &FromForkServer::Unprepared { error: control::text(why) }, None);
            fork::exit_now(1)
        }
        Err(NoPrimary) => fork::exit_now(0),
    }
}

fn role_of(peer: PeerId) -> Role {
    match peer {
        PeerId::Worker(_) => Role::Worker,
        PeerId::Director(_) => Role::Director,
    }
}

fn fork_peer(control: &OwnedFd, peer: PeerId, before: &mut ForkHooks) -> Result<Grandchild, StartError> {
    // BEFORE the checks: it is the user's code.
    before.call().map_err(StartError::Hook)?;
    let proof = SingleThreaded::check()?;
    no_trace_of_tokio()?;
    flush_output();
    let report = |born: nix::Result<(Pid, OwnedFd)>| match born {
        Ok((pid, pidfd)) => tell(control, &FromForkServer::Born { peer, pid: pid.as_raw() }, Some(&pidfd)),
        Err(err) => {
            let error = format!("cannot fork: {err}");
            tell(control, &FromForkServer::Stillborn { peer, error }, None);
        }
    };
    fork::fork_away(&proof, report).map_err(StartError::system("fork"))
}

/// Tells the primary. Where it is gone, the next receive sees it.
fn tell(control: &OwnedFd, message: &FromForkServer, pidfd: Option<&OwnedFd>) {
    let fds: Vec<_> = pidfd.iter().map(|fd| fd.as_fd()).collect();
    let _ = control::send(control.as_fd(), message, &fds);
}

/// What is in a buffer when a process forks is written by both.
pub(crate) fn flush_output() {
    use std::io::Write;
    let _ = std::io::stdout().flush();
    crate::sys::descriptors::flush_c_stdio();
}
