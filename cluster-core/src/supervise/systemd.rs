//! What a service manager is told of the cluster (sd_notify(3)), event by event. Pure: no socket, no clock.
use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use crate::event::{Event, Status, WorkerState};

/// The cluster as its service manager knows it.
pub(crate) struct Service {
    /// How it stands, from events alone.
    picture: Status,
    course: Course,
    /// How many fork servers were lost since a worker was made.
    lost: u32,
    /// The last `STATUS=` that was told.
    line: String,
}

/// Where the cluster is heading.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Course {
    Starting,
    Serving(Reload),
    Stopping { why: String },
}

/// What the last reload has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reload {
    Done,
    Tries { generation: u64 },
    Failed { generation: u64, why: String },
}

impl Service {
    pub(crate) fn new(slots: u16, generation: u64) -> Self {
        let picture = Status { slots, generation, ..Status::default() };
        Self { picture, course: Course::Starting, lost: 0, line: String::new() }
    }

    /// What to say of an event: the lines of one message, or nothing. `monotonic` is the time since the boot of the
    /// machine, by which systemd tells the answer to its signal from an older reload.
    pub(crate) fn lines(&mut self, event: &Event, monotonic: Duration) -> Vec<String> {
        self.picture.apply(event);
        match event {
            Event::ForkServerLost { .. } => self.lost = self.lost.saturating_add(1),
            Event::WorkerStarted { .. } => self.lost = 0,
            _ => {}
        }
        let mut lines: Vec<String> = self.turn(event, monotonic).iter().map(NotifyState::to_string).collect();
        let line = self.describe();
        if line != self.line {
            lines.push(NotifyState::Status(&line).to_string());
            self.line = line;
        }
        lines
    }

    /// Whether a watchdog may be told that all is well: the driver asks, so it turns; and somebody serves, or may yet.
    /// Where every worker waits for its restart nobody does. A stop has deadlines of its own, and so has a new fork server
    /// that runs `main`; but where that is lost, too, nobody may ever come.
    pub(crate) fn is_alive(&self) -> bool {
        !self.picture.workers.is_empty() || self.lost == 1 || matches!(self.course, Course::Stopping { .. })
    }

    /// What changes the service manager's mind.
    fn turn(&mut self, event: &Event, monotonic: Duration) -> Vec<NotifyState<'static>> {
        let stopping = match event {
            Event::AllReady { .. } => return self.ready(),
            Event::Reloading { generation } => return self.reloading(*generation, monotonic),
            // Also where it failed: the service is as it was before.
            Event::Reloaded { .. } => return self.reloaded(Reload::Done),
            Event::ReloadFailed { generation, why, .. } => {
                return self.reloaded(Reload::Failed { generation: *generation, why: why.clone() });
            }
            Event::Stopping { connections: 1, .. } => "1 connection was open".to_owned(),
            Event::Stopping { connections, .. } => format!("{connections} connections were open"),
            Event::StoppingNow => "at once".to_owned(),
            Event::GivingUp { why } => why.clone(),
            _ => return Vec::new(),
        };
        match &self.course {
            // The first reason is the one to know: giving up, and then stopping for that.
            Course::Stopping { .. } => Vec::new(),
            Course::Starting | Course::Serving(_) => {
                self.course = Course::Stopping { why: stopping };
                vec![NotifyState::Stopping]
            }
        }
    }

    /// All workers are ready, for the first time.
    fn ready(&mut self) -> Vec<NotifyState<'static>> {
        match self.course {
            Course::Starting => {
                self.course = Course::Serving(Reload::Done);
                vec![NotifyState::Ready]
            }
            Course::Serving(_) | Course::Stopping { .. } => Vec::new(),
        }
    }

    fn reloading(&mut self, generation: u64, monotonic: Duration) -> Vec<NotifyState<'static>> {
        match &mut self.course {
            Course::Serving(reload) => {
                *reload = Reload::Tries { generation };
                let usec = i128::try_from(monotonic.as_micros()).unwrap_or(i128::MAX);
                vec![NotifyState::Reloading, NotifyState::MonotonicUsec(usec)]
            }
            // A service that starts has not been ready yet, and must not be told as that by the end of a reload.
            Course::Starting | Course::Stopping { .. } => Vec::new(),
        }
    }

    fn reloaded(&mut self, outcome: Reload) -> Vec<NotifyState<'static>> {
        match &mut self.course {
            Course::Serving(reload) => {
                *reload = outcome;
                vec![NotifyState::Ready]
            }
            Course::Starting | Course::Stopping { .. } => Vec::new(),
        }
    }

    /// One line for `systemctl status`.
    fn describe(&self) -> String {
        let Status { slots, generation, workers, .. } = &self.picture;
        let serving = workers.iter().filter(|worker| matches!(worker.state, WorkerState::Serving));
        // By their slots: in a reload one has two for a while.
        let serving = serving.map(|worker| worker.slot.0).collect::<BTreeSet<u16>>().len();
        let serve = format!("{serving} of {slots} workers serve, generation {generation}");
        let line = match &self.course {
            Course::Starting => format!("starting: {serving} of {slots} workers serve"),
            Course::Serving(Reload::Done) => serve,
            Course::Serving(Reload::Tries { generation }) => {
                format!("reloading, to generation {generation}; {serve}")
            }
            Course::Serving(Reload::Failed { generation, why }) => {
                format!("the reload to generation {generation} failed ({why}); {serve}")
            }
            Course::Stopping { why } => format!("stopping ({why}); workers left: {}", workers.len()),
        };
        // Each line of a message is an assignment of its own.
        line.replace(|c: char| c.is_control(), " ")
    }
}

/// Messages that the socket has not taken yet, the oldest first.
#[derive(Default)]
pub(crate) struct Unsent(VecDeque<String>);

impl Unsent {
    /// More are not kept: a service manager that reads nothing for long is told the newest.
    const MOST: usize = 64;

    pub(crate) fn push(&mut self, message: String) {
        if self.0.len() >= Self::MOST {
            // What changes its mind stays as long as possible.
            let says_little = |message: &String| message.starts_with("STATUS=");
            let at = self.0.iter().position(says_little).unwrap_or(0);
            self.0.remove(at);
        }
        self.0.push_back(message);
    }

    pub(crate) fn first(&self) -> Option<&str> {
        self.0.front().map(String::as_str)
    }

    pub(crate) fn sent(&mut self) {
        self.0.pop_front();
    }
}

/// When to say that all is well.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watchdog {
    every: Duration,
    due: Instant,
}

impl Watchdog {
    /// Nobody looks more often, whatever was set.
    const SHORTEST: Duration = Duration::from_millis(10);

    /// Twice in the time after which the service manager would kill (sd_watchdog_enabled(3)).
    pub(crate) fn new(timeout: Duration, now: Instant) -> Option<Self> {
        let every = (timeout / 2).max(Self::SHORTEST);
        // Zero is how it is switched off.
        (!timeout.is_zero()).then_some(Self { every, due: now + every })
    }

    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Whether it is time; if so, the next is set.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due <= now;
        if is_due {
            self.due = now + self.every;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Slot, WorkerId};

    fn started(id: u64) -> Event {
        let (worker, slot) = (WorkerId(id), Slot(id as u16 - 1));
        Event::WorkerStarted { worker, slot, pid: 7, generation: 1 }
    }

    fn ready(id: u64) -> Event {
        let (worker, slot) = (WorkerId(id), Slot(id as u16 - 1));
        Event::WorkerReady { worker, slot, pid: 7, took: Duration::ZERO }
    }

    impl Service {
        /// What is said of an event, whenever it is.
        fn tell(&mut self, event: &Event) -> Vec<String> {
            self.lines(event, Duration::ZERO)
        }
    }

    /// A service of two workers that serve.
    fn serving() -> Service {
        let mut service = Service::new(2, 1);
        for event in [started(1), started(2), ready(1), ready(2), Event::AllReady { workers: 2 }] {
            service.tell(&event);
        }
        service
    }

    #[test]
    fn ready_comes_once_when_all_are_ready() {
        let mut service = Service::new(2, 1);
        let starting = Event::Starting { workers: 2, source: "workers(..)".into() };
        assert_eq!(service.tell(&starting), ["STATUS=starting: 0 of 2 workers serve"]);
        for event in [started(1), started(2)] {
            assert_eq!(service.tell(&event), [""; 0], "nothing new");
        }
        assert_eq!(service.tell(&ready(1)), ["STATUS=starting: 1 of 2 workers serve"]);
        assert_eq!(service.tell(&ready(2)), ["STATUS=starting: 2 of 2 workers serve"]);
        let all = Event::AllReady { workers: 2 };
        assert_eq!(service.tell(&all), ["READY=1", "STATUS=2 of 2 workers serve, generation 1"]);
        assert_eq!(service.tell(&all), [""; 0]);
        let scaled = Event::Scaled { from: 2, to: 3 };
        assert_eq!(service.tell(&scaled), ["STATUS=2 of 3 workers serve, generation 1"]);
    }

    #[test]
    fn stopping_comes_once_with_the_first_reason() {
        let stop = Event::Stopping { connections: 1, asked: true };
        let mut service = serving();
        let stopping = ["STOPPING=1", "STATUS=stopping (1 connection was open); workers left: 2"];
        assert_eq!(service.tell(&stop), stopping);
        assert_eq!(service.tell(&Event::StoppingNow), [""; 0]);
        let mut service = serving();
        let giving_up = Event::GivingUp { why: "16 crashes\nin 60 s".into() };
        let stopping = ["STOPPING=1", "STATUS=stopping (16 crashes in 60 s); workers left: 2"];
        assert_eq!(service.tell(&giving_up), stopping, "one line, whatever the reason has in it");
        assert_eq!(service.tell(&stop), [""; 0]);
        assert_eq!(Service::new(1, 1).tell(&Event::StoppingNow)[0], "STOPPING=1", "before it was ready, too");
    }

    #[test]
    fn a_reload_is_told_with_its_time_and_ready_follows_also_where_it_failed() {
        let mut service = serving();
        let reloading = Event::Reloading { generation: 2 };
        let now = Duration::from_micros(7_000_001);
        let begun = [
            "RELOADING=1",
            "MONOTONIC_USEC=7000001",
            "STATUS=reloading, to generation 2; 2 of 2 workers serve, generation 1",
        ];
        assert_eq!(service.lines(&reloading, now), begun);
        let failed =
            Event::ReloadFailed { generation: 2, why: "it is no\nprogram".into(), last_stderr: vec![] };
        let status =
            "STATUS=the reload to generation 2 failed (it is no program); 2 of 2 workers serve, generation 1";
        assert_eq!(service.lines(&failed, now), ["READY=1", status]);
        service.lines(&Event::Reloading { generation: 3 }, now);
        service.lines(&Event::RollingOut { generation: 3 }, now);
        let reloaded = Event::Reloaded { generation: 3, took: Duration::ZERO };
        assert_eq!(service.lines(&reloaded, now), ["READY=1", "STATUS=2 of 2 workers serve, generation 3"]);
    }

    #[test]
    fn two_workers_of_a_slot_are_one_that_serves() {
        let mut service = serving();
        service.tell(&Event::Reloading { generation: 2 });
        let (worker, slot) = (WorkerId(3), Slot(0));
        service.tell(&Event::WorkerStarted { worker, slot, pid: 8, generation: 2 });
        let ready = Event::WorkerReady { worker, slot, pid: 8, took: Duration::ZERO };
        assert_eq!(service.tell(&ready), [""; 0], "still 2 of 2");
    }

    #[test]
    fn a_reload_before_the_start_is_done_makes_nothing_ready_and_one_in_a_stop_neither() {
        let reloaded = Event::Reloaded { generation: 2, took: Duration::ZERO };
        let mut service = Service::new(2, 1);
        service.tell(&Event::Starting { workers: 2, source: "workers(..)".into() });
        assert_eq!(service.tell(&Event::Reloading { generation: 2 }), [""; 0]);
        assert_eq!(service.tell(&reloaded), [""; 0]);
        let mut service = serving();
        service.tell(&Event::Reloading { generation: 2 });
        service.tell(&Event::StoppingNow);
        assert_eq!(service.tell(&reloaded), [""; 0]);
    }

    #[test]
    fn a_watchdog_is_told_only_where_somebody_serves_or_may_yet() {
        let mut service = Service::new(1, 1);
        assert!(!service.is_alive());
        service.tell(&started(1));
        assert!(service.is_alive(), "it boots");
        service.picture.workers.clear();
        assert!(!service.is_alive(), "it waits for its restart");
        service.tell(&Event::Stopping { connections: 0, asked: true });
        assert!(service.is_alive(), "the director may take its time");
    }

    #[test]
    fn a_watchdog_is_told_while_one_new_fork_server_runs_main_and_not_for_a_second() {
        let lost = || Event::ForkServerLost { why: "SIGKILL".into(), again_in: Duration::ZERO };
        let mut service = serving();
        service.tell(&lost());
        service.picture.workers.clear();
        assert!(service.is_alive(), "its deadline is the boot timeout");
        service.tell(&Event::ForkServerReady { pid: 7 });
        service.tell(&lost());
        assert!(!service.is_alive(), "nobody serves, and nobody may ever");
        service.tell(&started(3));
        service.picture.workers.clear();
        assert!(!service.is_alive(), "it waits for its restart");
        service.tell(&lost());
        assert!(service.is_alive());
    }

    #[test]
    fn the_watchdog_is_due_twice_in_its_time_and_zero_is_never() {
        let now = Instant::now();
        let mut watchdog = Watchdog::new(Duration::from_secs(30), now).unwrap();
        assert!(!watchdog.is_due(now + Duration::from_millis(14_999)));
        let half = now + Duration::from_secs(15);
        assert!(watchdog.is_due(half) && !watchdog.is_due(half));
        assert_eq!(watchdog.due(), now + Duration::from_secs(30));
        assert!(Watchdog::new(Duration::ZERO, now).is_none());
        assert_eq!(Watchdog::new(Duration::from_nanos(1), now).unwrap().due(), now + Watchdog::SHORTEST);
    }

    #[test]
    fn who_reads_nothing_is_told_the_newest_and_what_matters() {
        let mut unsent = Unsent::default();
        unsent.push("READY=1\nSTATUS=0".into());
        (1..200).for_each(|number| unsent.push(format!("STATUS={number}")));
        unsent.push("STOPPING=1".into());
        let mut kept = Vec::new();
        while let Some(message) = unsent.first() {
            kept.push(message.to_owned());
            unsent.sent();
        }
        assert_eq!(kept.len(), Unsent::MOST);
        assert_eq!((&*kept[0], &*kept[62], &*kept[63]), ("READY=1\nSTATUS=0", "STATUS=199", "STOPPING=1"));
    }
}
