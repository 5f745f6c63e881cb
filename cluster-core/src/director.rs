//! The director: a process of its own for what the user runs on the primary's side.
//!
//! The primary supervises and routes, and runs no code of the user's: handlers that block, leak or crash end or
//! stall this process and nothing else.
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::error::BoxError;
use crate::event::{Event, Exit};
use crate::handle::ClusterHandle;
use crate::ipc::control::ToDirector;
use crate::ipc::handler::{Callback, Called, Program};
use crate::ipc::inbox::Inbox;
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
    let cluster = ClusterHandle::new(process.endpoint().clone());
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
            ToDirector::Reply { id, result } => self.cluster.replied(id, result),
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

/// The user's `on_exit` and `on_event`: each has a queue, and is called for one event at a time, in order.
struct Callbacks {
    exits: Vec<mpsc::UnboundedSender<Due<Exit>>>,
    events: Vec<mpsc::UnboundedSender<Due<Event>>>,
}

/// Something to call a callback for, and what comes before it.
struct Due<T> {
    item: T,
    after: BoxFuture<'static, ()>,
}

/// An exit is told when handlers have done with what the worker had sent. A handler that takes longer than this
/// holds up no alert.
const HANDLING: Duration = Duration::from_secs(1);

impl Callbacks {
    fn start(on_exit: Vec<Callback<Exit>>, on_event: Vec<Callback<Event>>, tasks: &TaskTracker) -> Self {
        let exits = on_exit.into_iter().map(|callback| queue("on_exit", callback, tasks)).collect();
        let events = on_event.into_iter().map(|callback| queue("on_event", callback, tasks)).collect();
        Self { exits, events }
    }

    fn call(&self, event: Event, inbox: &Inbox) {
        let after_its_messages = || tokio::time::timeout(HANDLING, inbox.handled()).map(drop).boxed();
        if let Event::WorkerExited(exit) = &event {
            for queue in &self.exits {
                let _ = queue.send(Due { item: exit.clone(), after: after_its_messages() });
            }
        }
        for queue in &self.events {
            let after = match event {
                Event::WorkerExited(_) => after_its_messages(),
                _ => std::future::ready(()).boxed(),
            };
            let _ = queue.send(Due { item: event.clone(), after });
        }
    }
}

/// The queue of a callback. A drain waits until it is worked through.
fn queue<T: Send + 'static>(
    name: &'static str,
    callback: Callback<T>,
    tasks: &TaskTracker,
) -> mpsc::UnboundedSender<Due<T>> {
    let (items, mut queue) = mpsc::unbounded_channel::<Due<T>>();
    let work: BoxFuture<'static, ()> = Box::pin(async move {
        while let Some(Due { item, after }) = queue.recv().await {
            after.await;
            let called = AssertUnwindSafe(async { finish(callback(item)).await }).catch_unwind().await;
            log(called, || name.to_owned());
        }
    });
    tasks.spawn(work);
    items
}
