//! The primary's side: it hears everything, and does as it is told.
use cluster_core::{BoxError, Builder, ClusterHandle, CommandError, Event, Exit, Slot, WorkerRef};

use futures::StreamExt;

use crate::types::{Question, Said, Work};
use crate::words::{self, Mouth};
use crate::{Ear, Stage, appears, converse};

pub(crate) fn take_part(builder: Builder, stage: &Stage) -> Builder {
    let [said, worked, answers, exits, events] = std::array::from_fn(|_| Side::new(stage));
    let trouble = stage.has("callback-trouble");
    let side = Side::new(stage);
    let mut builder = builder
        .on_message(move |from: WorkerRef, message: Said| {
            said.ear().hears(&format!("said {} {}", from.id(), message.describe()));
        })
        .on_message(move |from: WorkerRef, Work(words)| {
            let ear = worked.ear();
            async move {
                // Whatever is told to a process in a line, a handler can do as well.
                if let Some(line) = words.strip_prefix("do ") {
                    ear.hears(&words::answer(&Mouth::Director(from.cluster()), &ear, line).await);
                    return Ok(());
                }
                match words.as_str() {
                    "say-back" => from.send(&Said::new(1, 100)).await.map_err(|err| err.to_string()),
                    "ask-back" => {
                        let known = from.cluster().workers().iter().any(|worker| worker.id() == from.id());
                        let pid = from.ask(&Question("pid".to_owned())).await;
                        ear.hears(&format!(
                            "{pid:?}, known {known}, pid {}, slot {}",
                            from.pid(),
                            from.slot()
                        ));
                        Ok(())
                    }
                    _ => words::work(&ear, words).await,
                }
            }
        })
        .on_ask(move |_: WorkerRef, Question(words)| words::reply(answers.ear(), words))
        .on_exit(move |exit: Exit| exits.ear().hears(&describe_exit(&exit)));
    if !stage.has("no-events") {
        builder = builder.on_event(move |event: Event| events.ear().hears(&describe_event(&event)));
    }
    if trouble {
        builder = builder
            .on_exit(|exit: Exit| assert_eq!(exit.pid, 0, "on_exit panics, as it should"))
            .on_exit(|_: Exit| Err::<(), _>("on_exit fails, as it should"))
            .primary(|_| async { Err::<(), _>("primary fails, as it should") });
        return builder;
    }
    builder.primary(move |cluster| async move { program(cluster, side).await })
}

/// What the primary's side needs in the process that it will be.
struct Side {
    stage: Stage,
    ear: std::sync::OnceLock<Ear>,
}

impl Side {
    fn new(stage: &Stage) -> Self {
        Self { stage: stage.clone(), ear: std::sync::OnceLock::new() }
    }

    fn ear(&self) -> Ear {
        self.ear.get_or_init(|| self.stage.ear("director").expect("the folder is there")).clone()
    }
}

async fn program(cluster: ClusterHandle, side: Side) -> Result<(), BoxError> {
    if side.stage.has("streams-events") {
        let (mut events, ear) = (cluster.events(), side.ear());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                ear.hears(&format!("streamed {}", describe_event(&event)));
            }
        });
    }
    let socket = side.stage.socket("director")?;
    if let Some(path) = side.stage.value("stopping-until") {
        let (cluster, ear, path) = (cluster.clone(), side.ear(), path.to_owned());
        tokio::spawn(serve(socket, cluster.clone(), side.ear()));
        cluster.stopping().await;
        ear.hears("stopping");
        appears(path).await;
        ear.hears("stopped");
        return Ok(());
    }
    serve(socket, cluster, side.ear()).await
}

async fn serve(socket: tokio::net::UnixListener, cluster: ClusterHandle, ear: Ear) -> Result<(), BoxError> {
    loop {
        let (stream, _) = socket.accept().await?;
        let (cluster, ear) = (cluster.clone(), ear.clone());
        tokio::spawn(converse(stream, move |line| answer(cluster.clone(), ear.clone(), line)));
    }
}

async fn answer(cluster: ClusterHandle, ear: Ear, line: String) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let command = match words[..] {
        ["scale", workers] => cluster.scale(words::parse(workers) as usize),
        ["restart", slot] => cluster.restart(Slot(words::parse(slot) as u16)),
        ["stop"] => cluster.stop(),
        ["status"] => return describe_status(&cluster),
        _ => return words::answer(&Mouth::Director(cluster), &ear, &line).await,
    };
    let done: Result<(), CommandError> = command.await;
    // How it stands at the very moment when it is done.
    match done {
        Ok(()) => format!("done: {}", describe_status(&cluster)),
        Err(err) => format!("{err:?}"),
    }
}

/// `SLOTS: ID/SLOT/PID/STATE ..`
fn describe_status(cluster: &ClusterHandle) -> String {
    let status = cluster.status();
    let workers = status.workers.iter();
    let workers =
        workers.map(|known| format!(" {}/{}/{}/{:?}", known.id, known.slot, known.pid, known.state));
    format!("{}:{}", status.slots, workers.collect::<String>())
}

fn describe_exit(exit: &Exit) -> String {
    let (code, signal) = (exit.code(), exit.signal());
    let has_usage = exit.usage.max_rss > 1 << 20;
    format!(
        "exit {} {:?} code {code:?} signal {signal:?} usage {has_usage} next {:?} planned {} last {:?}",
        exit.worker,
        exit.reason,
        exit.next,
        exit.is_planned(),
        exit.last_stderr,
    )
}

/// `event NAME WORKER TEXT`, where WORKER is 0 for what is of none.
fn describe_event(event: &Event) -> String {
    let debug = format!("{event:?}");
    let name = debug.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
    let worker = event.worker().map_or(0, |id| id.0);
    format!("event {name} {worker} {event}")
}
