//! Making processes, and letting go of those that never came to be.
use nix::unistd::fchown;

use crate::birth::executable::Execution;
use crate::id::{PeerId, Seat};
use crate::role::Role;
use crate::supervise::driver::Driver;
use crate::supervise::force;
use crate::supervise::input::{Entry, Input};
use crate::supervise::peer::{Born, Newcomer, Peer, Place, Watcher};
use crate::sys::process;

impl Driver {
    /// Makes a worker or director, or tells why not.
    pub(super) fn spawn(&mut self, peer: PeerId, seat: Seat, generation: u64, entry: Entry) {
        let place = Place {
            peer,
            seat,
            entry,
            slots: self.slots,
            generation,
            prepare: self.lacks_preparation(generation),
            director: self.has_director,
            sockets: &self.sockets,
            watch: &self.watch,
            keeper: &self.keeper,
            handoff: self.handoff.as_ref(),
            book: self.book.as_ref(),
            exchange: &self.exchange,
        };
        let made = Peer::prepare(&place).map_err(|err| err.to_string()).and_then(|(held, newcomer)| {
            self.peers.insert(peer, held);
            match (peer, entry) {
                (PeerId::Director(_), Entry::Vacant) => self.direct(peer),
                // It begins with that, and is told anew what has changed when the seat is its.
                (PeerId::Director(number), Entry::Beside) => self.show_picture(number),
                (PeerId::Worker(_), _) => {}
            }
            self.make(peer, seat, generation, newcomer)
        });
        if let Err(error) = made {
            self.no_longer_unborn(peer);
            self.give_up_peer(peer);
            // Also where it came no further than to be announced there.
            if let Some(handoff) = &self.handoff {
                handoff.leave(peer);
            }
            self.untold.push_back(Input::Stillborn { peer, error });
        }
    }

    /// The seat is its from now on.
    pub(super) fn give_seat(&mut self, peer: PeerId, seat: Seat) {
        self.exchange.give_seat(peer);
        if seat == Seat::Director {
            self.direct(peer);
        }
    }

    /// It is the director that is told of all from now on.
    fn direct(&mut self, peer: PeerId) {
        self.director = Some(peer);
        self.tell_picture();
    }

    fn make(&mut self, peer: PeerId, seat: Seat, generation: u64, newcomer: Newcomer) -> Result<(), String> {
        let of = self.generations.get_mut(&generation).ok_or("its generation is over")?;
        if self.forks {
            let breeder = of.breeder.as_ref().ok_or("there is no fork server")?;
            of.unborn.insert(peer);
            breeder.ask(peer, newcomer.control);
            return Ok(());
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from) / usize::from(self.slots);
        if let Some(owner) = self.identity.owner() {
            // Who opens /dev/stderr anew must own it. Best effort: who cannot still writes to the descriptor.
            let _ = fchown(&newcomer.stderr, Some(owner), None);
        }
        let execution = Execution {
            role: match seat {
                Seat::Slot(_) => Role::Worker,
                Seat::Director => Role::Director,
            },
            control: newcomer.control,
            stderr: Some(newcomer.stderr),
            defaults: vec![("TOKIO_WORKER_THREADS", threads.max(1).to_string())],
            variables: self.identity.environment().to_vec(),
            steps: self.identity.steps(match seat {
                Seat::Slot(slot) => Some(slot),
                Seat::Director => None,
            }),
            own_group: true,
        };
        let pid = of.executable.execute(execution).map_err(|err| err.to_string())?;
        // Nobody but us reaps it, so the pid is its own until then.
        let pidfd = process::pidfd_open(pid).map_err(|err| {
            force::discard(pid);
            format!("pidfd_open: {err}")
        })?;
        self.follow(Born { peer, pid, pidfd });
        Ok(())
    }

    /// Nobody will follow this process. If it lives all the same it must end by itself, and not take the end
    /// of its line for the primary's: it would close the queue of the living.
    pub(super) fn give_up_peer(&mut self, peer: PeerId) {
        if let Some(mut held) = self.peers.remove(&peer) {
            self.exchange.leave(peer);
            held.kill();
            self.let_go(peer, &mut held);
        }
    }

    pub(super) fn follow(&mut self, born: Born) {
        let (peer, pid) = (born.peer, born.pid);
        self.no_longer_unborn(peer);
        let watcher = Watcher { notes: self.notes.clone(), exchange: self.exchange.clone() };
        let Some(held) = self.peers.get_mut(&peer) else { return };
        let told = match held.follow(born, !self.forks, watcher) {
            Ok(()) => Input::Born { peer, pid: pid.as_raw() as u32 },
            Err(err) => {
                self.give_up_peer(peer);
                force::discard(pid);
                Input::Stillborn { peer, error: format!("cannot follow {peer}: {err}") }
            }
        };
        self.untold.push_back(told);
    }
}
