//! The beginning of the primary: nothing runs yet.
use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::birth::executable::Executable;
use crate::conn::{AdmissionPolicy, Cut, Handoff};
use crate::counter::Counting;
use crate::error::StartError;
use crate::event::Event;
use crate::ipc::counters::Told;
use crate::ipc::exchange::{Exchange, Word};
use crate::secret::Keeper;
use crate::supervise::announce::Announcer;
use crate::supervise::breeder::Breeder;
use crate::supervise::driver::generations::{Generation, Generations};
use crate::supervise::driver::{Driver, Method, Plan, connections, survey};
use crate::supervise::note::Note;
use crate::supervise::notifier::Notifier;
use crate::supervise::orphans::Orphans;
use crate::supervise::past::Past;
use crate::supervise::pool::{FIRST_GENERATION, Pool};
use crate::supervise::signals::{HangUps, Stops, has_terminal};

impl Driver {
    /// All that there is before the first process of ours.
    pub(super) fn new(
        plan: Plan,
        notes: mpsc::Sender<Note>,
        words: mpsc::Sender<Word>,
    ) -> Result<Self, StartError> {
        // BEFORE the first worker is forked: one that is forked away must become our child.
        nix::sys::prctl::set_child_subreaper(true)
            .map_err(StartError::system("cannot become a subreaper (prctl PR_SET_CHILD_SUBREAPER)"))?;
        let binary = plan.settings.binary.as_deref();
        let executable =
            Executable::this(binary).map_err(StartError::system("cannot open our own executable"))?;
        let policy = plan.policy();
        let (forks, prepares) = (policy.fork_server, policy.prepares);
        let breeder = match plan.method {
            Method::Fork(started) => Some(
                Breeder::attend(started, FIRST_GENERATION, notes.clone())
                    .map_err(StartError::system("cannot attend the fork server"))?,
            ),
            Method::Exec { .. } => None,
        };
        let limits = &plan.settings.limits;
        let (watch, book) = connections::watch_over(&plan.sockets, limits)
            .map_err(StartError::system("cannot watch the listening sockets"))?;
        watch.begin().map_err(StartError::system("cannot watch the listening sockets"))?;
        let keeper = Keeper::begin(Instant::now(), plan.settings.secret_rotation)
            .map_err(StartError::system("cannot make the workers' shared secret"))?;
        let policy_of_handoff = AdmissionPolicy { book: book.clone(), refuses: limits.refuse() };
        let handoff = Handoff::begin(&plan.sockets, policy_of_handoff)
            .map_err(StartError::system("cannot start to hand out connections"))?;
        let counting = Counting::begin().map_err(StartError::system("memfd_create"))?;
        let mut driver = Self {
            pool: Pool::new(Instant::now(), policy),
            peers: HashMap::new(),
            exchange: Exchange::new(plan.director, plan.workers.count, words),
            has_director: plan.director,
            director: None,
            forks,
            prepares,
            generations: Generations::from([(FIRST_GENERATION, Generation::new(executable, breeder))]),
            untold: VecDeque::new(),
            identity: plan.identity,
            sockets: plan.sockets,
            watch,
            keeper,
            book,
            counting,
            past: Past::new(survey::time_of_day()),
            seen: None,
            handoff,
            places: plan.places,
            slots: plan.workers.count,
            orphans: Orphans::new(),
            orphans_due: None,
            stops: Stops::default(),
            hang_ups: HangUps::new(has_terminal()),
            hang: plan.settings.hang,
            weigh_at: plan.settings.recycling.weighs().then(Instant::now),
            look_at: plan.settings.hang.map(|_| Instant::now()),
            announcer: Announcer::from_environment(),
            notifier: Notifier::from_environment(plan.workers.count, FIRST_GENERATION),
            untold_events: 0,
            told: Told::default(),
            counters_due: Instant::now(),
            notes,
            quiet: plan.settings.quiet,
            listening: false,
            all_ready: false,
            closing: false,
        };
        driver.prepare_first().map_err(StartError::system("cannot execute the program to prepare"))?;
        driver.tell(Event::Starting { workers: plan.workers.count, source: plan.workers.source.to_owned() });
        if dies_as_a_group() {
            driver.tell(Event::OomGroup);
        }
        if let Some(Cut { asked, limit }) = plan.cut {
            driver.tell(Event::BacklogCut { asked, limit });
        }
        Ok(driver)
    }
}

/// Whether running out of memory ends all processes of our control group at once (cgroup v2,
/// `memory.oom.group`), the primary among them.
fn dies_as_a_group() -> bool {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(own) = groups.lines().find_map(|line| line.strip_prefix("0::")) else { return false };
    let setting = std::fs::read_to_string(format!("/sys/fs/cgroup{own}/memory.oom.group"));
    setting.is_ok_and(|setting| setting.trim() == "1")
}
