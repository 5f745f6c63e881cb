//! What each process knows from its own run of `main`: what a worker runs, and with which listeners.
use std::future::Future;
use std::pin::Pin;

use crate::config::{Runtime, Settings};
use crate::conn::listen::BindKey;
use crate::error::BoxError;
use crate::worker::Worker;

/// What makes the future of a worker's program.
pub(crate) type MakeFuture =
    Box<dyn FnOnce(Worker) -> Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>> + Send>;

/// What a worker runs.
pub(crate) enum Program {
    /// A future, on a runtime of ours or of the user's.
    Future(MakeFuture),
    /// A function that brings its own runtime, for frameworks that have one.
    Blocking(Box<dyn FnOnce(Worker, Runtime) -> Result<(), BoxError> + Send>),
}

/// What each process of the cluster knows from its own run of `main`.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) settings: Settings,
    /// Names and identities of the listeners.
    pub(crate) listeners: Vec<(String, BindKey)>,
}

/// A cluster whose sockets are bound.
pub(crate) struct Layout {
    pub(crate) blueprint: Blueprint,
    /// How each socket is announced.
    pub(crate) schemes: Vec<(BindKey, &'static str)>,
}
