//! What signals to the primary make it do.
use std::time::Instant;

use crate::event::{Event, inform};
use crate::id::PeerId;
use crate::supervise::driver::Driver;
use crate::supervise::input::Input;
use crate::supervise::peer::Peer;
use crate::supervise::signals::{Heard, Meaning, has_terminal};

impl Driver {
    /// What the pool is to know of it, if anything.
    pub(super) fn signalled(&mut self, heard: Heard) -> Option<Input> {
        let now = Instant::now();
        match heard {
            Heard::Stop => self.stops.asked(now),
            Heard::StopNow => Some(Input::StopNow),
            Heard::Child => {
                // It may say that a worker was stopped (sigaction(2), SIGCHLD).
                self.watch.ring_if_waited_for();
                self.reap_orphans();
                None
            }
            Heard::HangUp => self.hang_ups.heard(now).and_then(|meaning| self.hung_up(meaning)),
            Heard::ReopenLogs => {
                self.reopen_logs();
                None
            }
            Heard::ScaleBy(by) => Some(Input::ScaleBy(by)),
            Heard::Reserved => {
                self.say("SIGUSR2 means nothing yet and is ignored");
                None
            }
        }
    }

    /// The moment after a HUP is over.
    pub(super) fn look_for_terminal(&mut self) -> Option<Input> {
        let meaning = self.hang_ups.looked(has_terminal());
        self.hung_up(meaning)
    }

    fn hung_up(&mut self, meaning: Meaning) -> Option<Input> {
        match meaning {
            Meaning::Reload => Some(Input::Reload),
            Meaning::TerminalGone => {
                self.say("the terminal is gone (SIGHUP)");
                self.stops.asked(Instant::now())
            }
        }
    }

    fn reopen_logs(&mut self) {
        self.tell(Event::ReopenLogs);
        let workers = self.peers.iter().filter(|(peer, _)| matches!(peer, PeerId::Worker(_)));
        workers.map(|(_, held)| held).for_each(Peer::reopen_logs);
    }

    /// One line that is no event.
    fn say(&self, line: &str) {
        if !self.quiet {
            inform(line);
        }
    }
}
