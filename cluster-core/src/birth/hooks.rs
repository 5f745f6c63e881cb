//! What users have called at a birth and before an end, besides the program.
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::error::{BoxError, panic_text};
use crate::ipc::handler::Called;
use crate::ipc::queue::log;
use crate::worker::Worker;

/// Called around a fork.
pub(crate) type ForkHook = Box<dyn FnMut() -> Result<(), String> + Send>;
/// Called in a worker's runtime, once per process.
pub(crate) type WorkerHook = Box<dyn FnOnce(Worker) -> BoxFuture<'static, Result<(), BoxError>> + Send>;

/// Called in a process of its own, once per generation.
pub(crate) type PrepareHook = Box<dyn FnOnce() -> Called + Send>;

/// All of them, in the order in which they were given.
pub(crate) struct Hooks {
    pub(crate) before_fork: ForkHooks,
    pub(crate) after_fork: ForkHooks,
    pub(crate) worker: WorkerHooks,
    /// Once per generation, before its workers.
    pub(crate) prepare: Vec<PrepareHook>,
}

/// Those of one kind, with its name.
pub(crate) struct ForkHooks {
    name: &'static str,
    hooks: Vec<ForkHook>,
}

/// A worker's.
#[derive(Default)]
pub(crate) struct WorkerHooks {
    pub(crate) start: Vec<WorkerHook>,
    pub(crate) stop: Vec<WorkerHook>,
}

impl Default for Hooks {
    fn default() -> Self {
        Self {
            before_fork: ForkHooks::named("before_fork"),
            after_fork: ForkHooks::named("after_fork"),
            worker: WorkerHooks::default(),
            prepare: Vec::new(),
        }
    }
}

impl Hooks {
    /// The name of one that only a fork could call.
    pub(crate) fn of_forks(&self) -> Option<&'static str> {
        [&self.before_fork, &self.after_fork]
            .into_iter()
            .find(|kind| !kind.hooks.is_empty())
            .map(|kind| kind.name)
    }
}

impl Hooks {
    /// Those of both; these first.
    pub(crate) fn join(&mut self, other: Self) {
        self.before_fork.hooks.extend(other.before_fork.hooks);
        self.after_fork.hooks.extend(other.after_fork.hooks);
        self.worker.start.extend(other.worker.start);
        self.worker.stop.extend(other.worker.stop);
        self.prepare.extend(other.prepare);
    }
}

impl ForkHooks {
    fn named(name: &'static str) -> Self {
        Self { name, hooks: Vec::new() }
    }

    pub(crate) fn add(&mut self, hook: ForkHook) {
        self.hooks.push(hook);
    }

    /// Calls them in turn, up to the first that fails. A panic is a failure.
    pub(crate) fn call(&mut self) -> Result<(), String> {
        for hook in &mut self.hooks {
            let called = catch_unwind(AssertUnwindSafe(hook));
            called
                .unwrap_or_else(|panic| Err(panic_text(panic.as_ref())))
                .map_err(|err| format!("{}: {err}", self.name))?;
        }
        Ok(())
    }
}

/// Calls what is to be done before the program, up to the first that fails.
pub(crate) async fn begin(worker: &Worker, hooks: Vec<WorkerHook>) -> Result<(), BoxError> {
    for hook in hooks {
        let own = worker.clone();
        let called = AssertUnwindSafe(async move { hook(own).await }).catch_unwind().await;
        let result = called.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()));
        result.map_err(|err| format!("on_worker_start: {}", crate::birth::newborn::chain(err.as_ref())))?;
    }
    Ok(())
}

/// Calls what is to be done at the end: all of it, whatever becomes of the first.
pub(crate) async fn end(worker: &Worker, hooks: Vec<WorkerHook>) {
    for hook in hooks {
        let own = worker.clone();
        let called = AssertUnwindSafe(async move { hook(own).await }).catch_unwind().await;
        let outcome = called.map(|result| result.map_err(|err| crate::birth::newborn::chain(err.as_ref())));
        log(outcome, || format!("worker {}: on_worker_stop", worker.id()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn hooks_of_a_fork_are_called_in_turn_up_to_the_first_that_fails() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |number: u32, result: Result<(), &'static str>| -> ForkHook {
            let seen = seen.clone();
            Box::new(move || {
                seen.lock().unwrap().push(number);
                result.map_err(str::to_owned)
            })
        };
        let mut hooks = ForkHooks::named("before_fork");
        hooks.add(note(1, Ok(())));
        assert_eq!(hooks.call(), Ok(()));
        hooks.add(note(2, Err("no luck")));
        hooks.add(note(3, Ok(())));
        assert_eq!(hooks.call(), Err("before_fork: no luck".to_owned()));
        assert_eq!(*seen.lock().unwrap(), [1, 1, 2]);
    }

    #[test]
    fn a_panic_of_a_hook_is_its_failure() {
        let mut hooks = ForkHooks::named("after_fork");
        hooks.add(Box::new(|| panic!("as it should")));
        assert_eq!(hooks.call(), Err("after_fork: panicked: as it should".to_owned()));
    }
}
