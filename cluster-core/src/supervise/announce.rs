//! Tells a test what happens, line by line, over the unix socket that `CLUSTER_ANNOUNCE` names.
use std::io::Write;
use std::os::unix::net::UnixStream;

use crate::event::{Event, Leave};

/// The variable that names the socket; it also marks all processes of a program under test.
pub(crate) const VARIABLE: &str = "CLUSTER_ANNOUNCE";

/// A listener at a test, if there is one.
pub(crate) struct Announcer {
    to: Option<UnixStream>,
}

impl Announcer {
    pub(crate) fn from_environment() -> Self {
        let to = std::env::var_os(VARIABLE).and_then(|path| UnixStream::connect(path).ok());
        Self { to: to.filter(|to| to.set_nonblocking(true).is_ok()) }
    }

    /// Says one line. A listener that does not listen is left alone from then on.
    pub(crate) fn tell(&mut self, event: &Event) {
        let Some(line) = line(event) else { return };
        if let Some(to) = &mut self.to
            && to.write_all(line.as_bytes()).is_err()
        {
            self.to = None;
        }
    }
}

fn line(event: &Event) -> Option<String> {
    Some(match event {
        Event::Listening { at } => format!("listening {}\n", at.join(" ")),
        Event::WorkerReady { worker, slot, pid, .. } => format!("ready {worker} {slot} {pid}\n"),
        Event::AllReady { .. } => "all-ready\n".to_owned(),
        Event::WorkerDraining { why: Leave::Stop, .. } => return None,
        Event::WorkerDraining { worker, slot, pid, .. } => format!("draining {worker} {slot} {pid}\n"),
        Event::WorkerExited(exit) => format!("exited {} {} {}\n", exit.worker, exit.slot, exit.pid),
        Event::DirectorReady { pid } => format!("director {pid}\n"),
        Event::DirectorExited { pid, .. } => format!("director-exited {pid}\n"),
        Event::ForkServerReady { pid } => format!("fork-server {pid}\n"),
        Event::ForkServerLost { .. } => "fork-server-lost\n".to_owned(),
        Event::Scaled { to, .. } => format!("scaled {to}\n"),
        Event::Reloading { generation } => format!("reloading {generation}\n"),
        Event::RollingOut { generation } => format!("rolling-out {generation}\n"),
        Event::RollingBack { generation, .. } => format!("rolling-back {generation}\n"),
        Event::Reloaded { generation, .. } => format!("reloaded {generation}\n"),
        Event::ReloadFailed { generation, .. } => format!("reload-failed {generation}\n"),
        Event::ReopenLogs => "reopen-logs\n".to_owned(),
        Event::Stopping { .. } => "stopping\n".to_owned(),
        Event::Starting { .. }
        | Event::OomGroup
        | Event::BacklogCut { .. }
        | Event::WorkerStarted { .. }
        | Event::WorkerOnline { .. }
        | Event::WorkerStalled { .. }
        | Event::DirectorStalled { .. }
        | Event::Undelivered { .. }
        | Event::EventsLost { .. }
        | Event::StoppingNow
        | Event::GivingUp { .. }
        | Event::Stopped => return None,
    })
}
