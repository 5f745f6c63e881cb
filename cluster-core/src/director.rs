//! The director: a process of its own for what the user runs on the primary's side.
//!
//! The primary supervises and routes, and runs no code of the user's: handlers that block, leak or crash end or
//! stall this process and nothing else.
mod callbacks;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;

use crate::director::callbacks::Callbacks;
use crate::error::BoxError;
use crate::event::{Event, Exit};
use crate::handle::ClusterHandle;
use crate::ipc::control::ToDirector;
use crate::ipc::handler::{Callback, Called, Program};
use crate::ipc::picture::Picture;
use crate::ipc::queue::log;
use crate::program::MakeFuture;
use crate::worker::Worker;

/// Registers a handler.
pub(crate) type Register = Box<dyn FnOnce(&ClusterHandle) + Send>;

/// What the builder was given for the primary's side.
#[derive(Default)]
pub(crate) struct PrimarySide {
    pub(crate) program: Option<Program<ClusterHandle>>,
    pub(crate) handlers: Vec<Register>,
    pub(crate) on_exit: Vec<Callback<Exit>>,
    pub(crate) on_event: Vec<Callback<Event>>,
}

impl PrimarySide {
    /// The director's program, where there is something for it to do.
    pub(crate) fn into_program(self) -> Option<MakeFuture> {
        let Self { program, handlers, on_exit, on_event } = &self;
        let idle = program.is_none() && handlers.is_empty() && on_exit.is_empty() && on_event.is_empty();
        if idle {
            return None;
        }
        Some(Box::new(move |process| Box::pin(run(process, self))))
    }
}

/// Runs until the director is told to leave. `process` is the handle that every supervised process has.
async fn run(process: Worker, side: PrimarySide) -> Result<(), BoxError> {
    let cluster = ClusterHandle::new(process.endpoint().clone(), process.counters().clone());
    let mut words = process.endpoint().take_words().ok_or("the director runs twice")?;
    let callbacks = Callbacks::start(side.on_exit, side.on_event, process.tasks());
    let mut news = News { cluster: cluster.clone(), callbacks, picture: Picture::default(), is_known: false };
    // BEFORE the first message comes: those that have waited for this process are no early ones.
    side.handlers.into_iter().for_each(|register| register(&cluster));
    // BEFORE the first handler is called it knows how things stand: that is the primary's first word.
    while !news.is_known
        && let Some(word) = words.recv().await
    {
        news.hear(word);
    }
    process.endpoint().inbox().start(tokio::runtime::Handle::current());
    let mut program = Running::start(side.program, &cluster);
    process.ready();
    let mut draining = process.draining();
    loop {
        tokio::select! {
            word = words.recv() => match word {
                Some(word) => news.hear(word),
                None => break,
            },
            () = &mut draining => break,
        }
    }
    process.endpoint().let_go().await;
    while let Ok(word) = words.try_recv() {
        news.hear(word);
    }
    cluster.over();
    program.end().await;
    Ok(())
}

/// What the primary says, and who is told of it.
struct News {
    cluster: ClusterHandle,
    callbacks: Callbacks,
    picture: Picture,
    /// It has been told how things stand.
    is_known: bool,
}

impl News {
    fn hear(&mut self, word: ToDirector) {
        match word {
            ToDirector::Snapshot { status, first, total } => {
                if let Some(status) = self.picture.add(status, first, total) {
                    self.cluster.stands(status);
                    self.is_known = true;
                }
            }
            ToDirector::Event(event) => {
                self.cluster.happened(&event);
                self.callbacks.call(event, self.cluster.endpoint().inbox());
            }
            ToDirector::Counts(counts) => self.cluster.counted(counts),
            ToDirector::Listener { number, listener } => self.cluster.listens(number, listener),
            ToDirector::Reply { id, result } => self.cluster.replied(id, result),
            ToDirector::Reloaded { id, result } => self.cluster.reloaded(id, result),
        }
    }
}

/// The user's `primary(..)`.
struct Running {
    task: Option<tokio::task::JoinHandle<()>>,
    cluster: ClusterHandle,
}

impl Running {
    fn start(program: Option<Program<ClusterHandle>>, cluster: &ClusterHandle) -> Self {
        let handle = cluster.clone();
        let task = program.map(|program| {
            tokio::spawn(async move {
                let ended = AssertUnwindSafe(async { finish(program(handle)).await }).catch_unwind().await;
                log(ended, || "the program of the primary's side".to_owned());
            })
        });
        Self { task, cluster: cluster.clone() }
    }

    /// One that has asked when the cluster stops is waited for, up to the drain deadline; any other has no end
    /// of its own that could be known.
    async fn end(&mut self) {
        if let Some(task) = self.task.take() {
            if !self.cluster.is_asked_for_stopping() {
                task.abort();
            }
            let _ = task.await;
        }
    }
}

async fn finish(called: Called) -> Result<(), String> {
    match called {
        Called::Done(outcome) => outcome,
        Called::Later(outcome) => outcome.await,
    }
}
