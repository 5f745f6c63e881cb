//! The chat of the examples loses nothing that is said in it, also while all of its workers are replaced.
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use cluster_tests::{Process, examples, signal};

const CLIENTS: usize = 12;
const SAYS: usize = 60;
const RELOADS: u64 = 2;
/// Nobody says more while another is so far behind: half of what a room keeps.
const BEHIND: usize = 1000;
/// All of it takes a few seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// How far all have come.
#[derive(Default)]
struct Progress {
    said: AtomicUsize,
    /// By the client's name.
    heard: [AtomicUsize; CLIENTS],
}

impl Progress {
    fn said(&self) -> usize {
        self.said.load(Ordering::Acquire)
    }

    fn slowest(&self) -> usize {
        self.heard.iter().map(|heard| heard.load(Ordering::Acquire)).min().expect("there are clients")
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What the page does, without a page.
struct Client {
    name: usize,
    addr: SocketAddr,
    socket: Socket,
    /// By id: what it has said and not heard yet.
    unheard: BTreeMap<String, String>,
    heard: HashSet<String>,
    restarts: usize,
}

impl Client {
    async fn join(name: usize, addr: SocketAddr) -> Self {
        let socket = connect(addr).await;
        Self { name, addr, socket, unheard: BTreeMap::new(), heard: HashSet::new(), restarts: 0 }
    }

    async fn say(&mut self, number: usize) {
        let id = format!("{}-{number}", self.name);
        let line = format!("{id} client {} says {number}", self.name);
        // If the connection is over it is said again on the next.
        let _ = self.socket.send(Message::text(line.clone())).await;
        self.unheard.insert(id, line);
    }

    /// Hears what comes next.
    async fn hear(&mut self) {
        match self.socket.next().await {
            Some(Ok(Message::Text(line))) => {
                let (id, text) = line.split_once(' ').expect("an id and a text");
                let (name, number) = id.split_once('-').expect("a client and a number");
                assert_eq!(text, format!("client {name} says {number}"));
                self.unheard.remove(id);
                self.heard.insert(id.to_owned());
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.expect("it says why");
                assert_eq!(frame.code, CloseCode::Restart, "{frame:?}");
                self.restarts += 1;
            }
            Some(Ok(Message::Ping(_))) => {}
            // After the close frame.
            None => self.come_back().await,
            Some(other) => panic!("client {} hears {other:?}", self.name),
        }
    }

    async fn come_back(&mut self) {
        self.socket = connect(self.addr).await;
        for line in self.unheard.values() {
            let _ = self.socket.send(Message::text(line.clone())).await;
        }
    }

    /// Talks until it has said all, and heard all that anybody says.
    async fn talk(mut self, progress: Arc<Progress>, ends: Arc<AtomicUsize>) -> Self {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        // What a busy machine held up is not caught up on: all that is said is kept by every worker.
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut number = 0;
        // It goes on until all reloads are over; who said how much is known then.
        while ends.load(Ordering::Acquire) == 0 || number < SAYS {
            tokio::select! {
                _ = pace.tick() => if progress.said() < progress.slowest() + BEHIND {
                    self.say(number).await;
                    progress.said.fetch_add(1, Ordering::AcqRel);
                    number += 1;
                },
                () = self.hear() => progress.heard[self.name].store(self.heard.len(), Ordering::Release),
            }
        }
        ends.fetch_add(1, Ordering::AcqRel);
        while ends.load(Ordering::Acquire) <= CLIENTS || self.heard.len() < progress.said() {
            // So that it looks again when others have ended.
            let _ = tokio::time::timeout(Duration::from_millis(50), self.hear()).await;
            progress.heard[self.name].store(self.heard.len(), Ordering::Release);
        }
        self
    }
}

async fn connect(addr: SocketAddr) -> Socket {
    connect_async(format!("ws://{addr}/chat")).await.expect("somebody always serves").0
}

/// Reloads the chat so often, one after the other.
fn reload(app: &Process) {
    let mut seen = app.wait_for_line("all-ready", 0).unwrap();
    for _ in 0..RELOADS {
        signal(app.pid(), Signal::SIGHUP).unwrap();
        seen = app.wait_for_line("reloaded", seen).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_word_is_lost_while_the_chat_is_reloaded() {
    let app = examples::start("axum_websocket_chat");
    let (progress, ends) = (Arc::<Progress>::default(), Arc::<AtomicUsize>::default());
    let mut talking = Vec::new();
    for name in 0..CLIENTS {
        let client = Client::join(name, app.addr()).await;
        talking.push(tokio::spawn(client.talk(progress.clone(), ends.clone())));
    }
    let app = tokio::task::spawn_blocking(move || {
        reload(&app);
        app
    });
    let app = app.await.unwrap();
    ends.store(1, Ordering::Release);
    let all = tokio::time::timeout(PATIENCE, futures::future::join_all(talking)).await.expect("all is heard");
    let said = progress.said();
    assert!(said >= CLIENTS * SAYS, "{said}");
    let clients: Vec<Client> = all.into_iter().map(|client| client.unwrap()).collect();
    for client in &clients {
        assert_eq!(client.heard.len(), said, "client {}", client.name);
        assert!(client.unheard.is_empty(), "client {}: {:?}", client.name, client.unheard);
    }
    let restarts: Vec<usize> = clients.iter().map(|client| client.restarts).collect();
    assert!(restarts.iter().all(|times| *times >= RELOADS as usize), "{restarts:?}");
    drop(clients);
    assert!(app.stop().unwrap().success());
}

/// Hears all that is said, or was, up to the text with this number; the numbers.
async fn hear_up_to(socket: &mut Socket, last: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.last() != Some(&last) {
        let heard = socket.next().await.expect("it goes on").unwrap();
        let number = heard.to_text().unwrap().strip_prefix("one-").expect("nobody else is kept");
        numbers.push(number.parse().unwrap());
    }
    numbers
}

#[tokio::test]
async fn a_room_keeps_the_last_texts_and_forgets_what_was_before_them() {
    const KEPT: usize = 2000;
    const FORGOTTEN: usize = 100;
    let app = examples::start("axum_websocket_chat");
    let test = async {
        let mut one = connect(app.addr()).await;
        // One that is too long is not kept, and not said to anybody.
        one.send(Message::text("x".repeat(4097))).await.unwrap();
        let last = KEPT + FORGOTTEN - 1;
        // It hears some before it says more, so that it is never so far behind that it misses any.
        for numbers in (0..=last).collect::<Vec<_>>().chunks(50) {
            for number in numbers {
                one.send(Message::text(format!("one-{number}"))).await.unwrap();
            }
            assert_eq!(hear_up_to(&mut one, numbers[49]).await, numbers);
        }
        // Another worker may be a moment behind, and has some of the older ones until it has the newest.
        loop {
            let heard = hear_up_to(&mut connect(app.addr()).await, last).await;
            assert_eq!(heard[heard.len() - KEPT..], (FORGOTTEN..=last).collect::<Vec<_>>());
            if heard.len() == KEPT {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, test).await.expect("all is said");
    assert!(app.stop().unwrap().success());
}
