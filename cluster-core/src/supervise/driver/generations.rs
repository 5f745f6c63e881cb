//! The programs that workers are made of: one per generation, held open, with its fork server.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use nix::unistd::Pid;

use crate::birth::executable::Executable;
use crate::id::PeerId;
use crate::supervise::breeder::{Breeder, Errand};
use crate::supervise::driver::Driver;
use crate::supervise::input::Input;
use crate::supervise::note::Loss;
use crate::supervise::pool::FIRST_GENERATION;

/// One generation as the driver holds it.
pub(super) struct Generation {
    pub(super) executable: Executable,
    /// Its fork server, while there is one.
    pub(super) breeder: Option<Breeder>,
    /// What that was asked for and has not answered.
    pub(super) unborn: BTreeSet<PeerId>,
    /// A fork server of it has been up: what is done once has been done.
    pub(super) prepared: bool,
    /// Nobody is made of it any more: it waits for its fork server's end alone.
    closed: bool,
}

impl Generation {
    pub(super) fn new(executable: Executable, breeder: Option<Breeder>) -> Self {
        Self { executable, breeder, unborn: BTreeSet::new(), prepared: false, closed: false }
    }
}

/// All that are open, or not quite closed.
pub(super) type Generations = BTreeMap<u64, Generation>;

impl Driver {
    /// Opens the program as it is now.
    pub(super) fn open(&mut self, generation: u64) {
        let newest = self.generations.values().next_back().map(|newest| newest.executable.anew());
        let opened = match newest {
            Some(Ok(executable)) => self.begin(generation, executable),
            Some(Err(err)) => Err(err.to_string()),
            None => Err("the cluster is at its end".to_owned()),
        };
        match opened {
            // It says so itself.
            Ok(()) if self.forks || self.prepares => {}
            Ok(()) => self.untold.push_back(Input::Opened { generation }),
            Err(why) => self.untold.push_back(Input::NotOpened { generation, why }),
        }
    }

    fn begin(&mut self, generation: u64, executable: Executable) -> Result<(), String> {
        let breeder = if self.forks || self.prepares {
            let execute = self.send_out(&executable, generation, true);
            Some(execute.map_err(|err| err.to_string())?)
        } else {
            None
        };
        self.generations.insert(generation, Generation::new(executable, breeder));
        Ok(())
    }

    /// Executes it as a fork server, or where there are none to prepare and leave.
    fn send_out(&self, executable: &Executable, generation: u64, prepare: bool) -> io::Result<Breeder> {
        let alone = (!self.forks).then_some(&self.identity);
        let errand = Errand { executable, sockets: &self.sockets, generation, prepare, alone };
        Breeder::execute(errand, self.notes.clone())
    }

    /// The exec method's first generation: nobody is made of it before it is prepared.
    pub(super) fn prepare_first(&mut self) -> io::Result<()> {
        if let Some(held) = self.generations.get(&FIRST_GENERATION).filter(|_| self.prepares && !self.forks) {
            let breeder = self.send_out(&held.executable, FIRST_GENERATION, true)?;
            if let Some(held) = self.generations.get_mut(&FIRST_GENERATION) {
                held.breeder = Some(breeder);
            }
        }
        Ok(())
    }

    /// Whether workers of it find nothing prepared: the exec method, and a primary whose program did not do that.
    pub(super) fn lacks_preparation(&self, generation: u64) -> bool {
        !self.forks && self.generations.get(&generation).is_some_and(|held| !held.prepared)
    }

    /// Nobody is made of it any more.
    pub(super) fn close(&mut self, generation: u64) {
        let Some(held) = self.generations.get_mut(&generation) else { return };
        held.closed = true;
        match &held.breeder {
            // What it has answered is heard first: its end will be told.
            Some(breeder) => breeder.kill(),
            None => drop(self.generations.remove(&generation)),
        }
    }

    pub(super) fn start_fork_server(&mut self, generation: u64) {
        let Some(held) = self.generations.get(&generation) else { return };
        match self.send_out(&held.executable, generation, !held.prepared) {
            Ok(breeder) => {
                if let Some(held) = self.generations.get_mut(&generation) {
                    held.breeder = Some(breeder);
                }
            }
            Err(err) => self.untold.push_back(Input::ForkServerLost {
                generation,
                why: err.to_string(),
                last_stderr: Vec::new(),
            }),
        }
    }

    pub(super) fn kill_fork_server(&self, generation: u64) {
        if let Some(breeder) = self.generations.get(&generation).and_then(|held| held.breeder.as_ref()) {
            breeder.kill();
        }
    }

    /// One that does not die, though it was killed, is not waited for.
    pub(super) fn forget_fork_server(&mut self, generation: u64) {
        let Some(held) = self.generations.get(&generation) else { return };
        let why = "it was killed and does not die".to_owned();
        let Some(pid) = held.breeder.as_ref().map(Breeder::pid) else {
            return self.untold.push_back(Input::ForkServerLost { generation, why, last_stderr: Vec::new() });
        };
        // What it may still be at is not begun beside it.
        let unprepared = (!held.prepared).then(|| why.clone());
        self.fork_server_gone(
            pid,
            Loss { why, last_stderr: Vec::new(), unprepared, interrupted: false, left: None },
        );
    }

    /// A fork server has ended: what it was asked for and has not answered it never will.
    pub(super) fn fork_server_gone(&mut self, pid: Pid, loss: Loss) {
        let Loss { why, last_stderr, unprepared, interrupted, left } = loss;
        // What was interrupted is not begun anew, no more than what has failed.
        let whose = if self.forks { "the fork server" } else { "its process" };
        let unprepared = unprepared.or_else(|| interrupted.then(|| format!("{whose} was lost ({why})")));
        left.into_iter().for_each(|group| self.orphans.worker_ended(group));
        let is_its = |held: &Generation| held.breeder.as_ref().is_some_and(|breeder| breeder.pid() == pid);
        let found = self.generations.iter_mut().find(|(_, held)| is_its(held));
        let Some((&generation, held)) = found else { return };
        held.breeder = None;
        let (unborn, closed) = (std::mem::take(&mut held.unborn), held.closed);
        if !unborn.is_empty() || !held.prepared {
            self.orphans.may_be_half_born(Instant::now());
        }
        // It had that to do and nothing else.
        let done = !self.forks && held.prepared;
        if closed {
            self.generations.remove(&generation);
        } else if !done {
            // BEFORE the stillbirths: the pool must not ask this fork server again.
            self.untold.push_back(match unprepared {
                Some(error) => Input::Unprepared { generation, error, last_stderr },
                None => Input::ForkServerLost { generation, why: why.clone(), last_stderr },
            });
        }
        for peer in unborn {
            self.give_up_peer(peer);
            let error = format!("the fork server was lost ({why})");
            self.untold.push_back(Input::Stillborn { peer, error });
        }
    }

    /// It is prepared: from now on processes can be made of it.
    pub(super) fn prepared(&mut self, generation: u64) {
        if let Some(held) = self.generations.get_mut(&generation) {
            held.prepared = true;
        }
    }

    /// It is a process, or never will be.
    pub(super) fn no_longer_unborn(&mut self, peer: PeerId) {
        for held in self.generations.values_mut() {
            held.unborn.remove(&peer);
        }
    }

    /// The fork servers that live.
    pub(super) fn breeders(&self) -> impl Iterator<Item = &Breeder> {
        self.generations.values().filter_map(|held| held.breeder.as_ref())
    }
}
