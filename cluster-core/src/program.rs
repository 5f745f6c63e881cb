//! What each process knows from its own run of `main`: what a worker runs, and with which listeners.
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::birth::hooks::{Hooks, WorkerHooks};
use crate::birth::identity::Identity;
use crate::config::{Runtime, Settings};
use crate::conn::listen::BindKey;
use crate::error::{BoxError, StartError};
use crate::role::Role;
use crate::worker::Worker;

/// At a stop the director has what the workers have left of the drain timeout, and no less than this.
pub(crate) const DIRECTOR_DRAIN: Duration = Duration::from_secs(5);

/// What makes the future of a worker's or a director's program.
pub(crate) type MakeFuture =
    Box<dyn FnOnce(Worker) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send>;

/// What a worker runs.
pub(crate) enum Program {
    /// A future, on a runtime of ours or of the user's.
    Future(MakeFuture),
    /// A function that brings its own runtime, for frameworks that have one.
    Blocking(Box<dyn FnOnce(Worker, Runtime) -> Result<(), BoxError> + Send>),
}

/// What the processes of a cluster run.
pub(crate) struct Programs {
    pub(crate) worker: Program,
    /// None where the cluster has no director.
    pub(crate) director: Option<MakeFuture>,
    pub(crate) hooks: Hooks,
}

impl Programs {
    /// What a process of this role runs, and what is called before and after that.
    pub(crate) fn of(self, role: Role) -> Result<(Program, WorkerHooks), StartError> {
        match role {
            Role::Worker => Ok((self.worker, self.hooks.worker)),
            Role::Director => {
                let program = self.director.map(Program::Future).ok_or_else(|| {
                    let why = "it has code for the primary's side, this main builds none";
                    StartError::Mismatch(why.to_owned())
                })?;
                Ok((program, WorkerHooks::default()))
            }
            Role::Primary | Role::ForkServer => {
                Err(StartError::Mismatch("it asks for what runs no program".to_owned()))
            }
        }
    }
}

/// What each process of the cluster knows from its own run of `main`.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) settings: Settings,
    /// Names and identities of the listeners.
    pub(crate) listeners: Vec<(String, BindKey)>,
    /// What workers and the director become; nothing where they have become it already.
    pub(crate) identity: Identity,
    /// Whether there is code for the primary's side.
    pub(crate) director: bool,
}

/// A cluster whose sockets are bound.
pub(crate) struct Layout {
    pub(crate) blueprint: Blueprint,
    /// How each socket is announced.
    pub(crate) schemes: Vec<(BindKey, &'static str)>,
}
