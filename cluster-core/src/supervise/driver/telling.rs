//! Telling what has happened: the log, the director, whoever runs the program under test.
use crate::event::{Event, Next};
use crate::id::{PeerId, Seat};
use crate::ipc::control::ToDirector;
use crate::ipc::counters::Told;
use crate::ipc::picture;
use crate::supervise::driver::Driver;
use crate::supervise::driver::survey::time_of_day;
use crate::supervise::peer::Peer;

impl Driver {
    pub(super) fn tell(&mut self, event: Event) {
        let event = self.with_connections(event);
        if let Event::WorkerReady { .. } = event
            && !std::mem::replace(&mut self.listening, true)
            && !self.places.is_empty()
        {
            self.tell(Event::Listening { at: self.places.clone() });
        }
        self.past.happened(time_of_day(), &event);
        self.announcer.tell(&event);
        self.notifier.tell(&event);
        self.close_seat(&event);
        self.pass_on(&event);
        let start_up = match event {
            // The first workers have one line together.
            Event::WorkerReady { .. } | Event::DirectorReady { .. } | Event::ForkServerReady { .. } => {
                !self.all_ready
            }
            Event::AllReady { .. } => {
                self.all_ready = true;
                false
            }
            _ => false,
        };
        if !self.quiet && !start_up {
            event.log();
        }
    }

    /// An event with what the pool cannot know. The pages are the workers': what they say is shown, and not trusted to
    /// add up.
    fn with_connections(&self, mut event: Event) -> Event {
        match &mut event {
            Event::Stopping { connections, .. } => {
                let open = self.peers.values().map(Peer::connections_open);
                *connections = open.fold(0, u64::saturating_add);
            }
            Event::WorkerDraining { worker, connections, .. } => {
                let held = self.peers.get(&PeerId::Worker(*worker));
                *connections = held.map(Peer::connections_open).unwrap_or_default();
            }
            _ => {}
        }
        event
    }

    /// Where nobody comes after a process, nobody waits for its successor.
    pub(super) fn close_seat(&self, event: &Event) {
        let (seat, next) = match event {
            Event::WorkerExited(exit) => (Seat::Slot(exit.slot), exit.next),
            Event::DirectorExited { next, .. } => (Seat::Director, *next),
            _ => return,
        };
        match next {
            // The seat of one that was to take it is another's still.
            Next::NotReplaced | Next::GiveUp if self.pool.is_vacant(seat) => self.exchange.vacate(seat),
            Next::NotReplaced | Next::GiveUp | Next::RestartIn(_) | Next::AlreadyReplaced => {}
        }
    }

    /// Tells the director what has happened. One that takes nothing for long is told of the gap, and how things
    /// stand after it.
    pub(super) fn pass_on(&mut self, event: &Event) {
        if !self.has_director {
            return;
        }
        if self.untold_events > 0 {
            let gap = Event::EventsLost { count: self.untold_events };
            if !self.exchange.tell_director(&ToDirector::Event(gap)) {
                self.untold_events += 1;
                return;
            }
            self.untold_events = 0;
            self.tell_picture();
        }
        self.untold_events += u64::from(!self.exchange.tell_director(&ToDirector::Event(event.clone())));
    }

    /// Answers a director. One that is gone hears nothing, nor does its successor in its place.
    pub(super) fn answer(&self, to: PeerId, word: &ToDirector) {
        if let PeerId::Director(number) = to {
            self.exchange.tell_one(number, word);
        }
    }

    /// Tells a director that has not the seat yet how things stand.
    pub(super) fn show_picture(&self, director: u64) {
        // BEFORE the picture: with that its program begins.
        for (number, socket) in (0..).zip(&self.sockets) {
            self.exchange.tell_one(director, &ToDirector::Listener { number, listener: socket.status() });
        }
        for word in picture::words(self.pool.status()) {
            self.exchange.tell_one(director, &word);
        }
    }

    /// Tells the director how things stand.
    pub(super) fn tell_picture(&mut self) {
        self.told = Told::default();
        // BEFORE the picture: with that the director's program begins, and sees where the cluster listens.
        self.tell_listeners();
        for word in picture::words(self.pool.status()) {
            self.exchange.tell_director(&word);
        }
        // AFTER it: counts of workers that it does not know are passed over.
        self.tell_counters();
    }
}
