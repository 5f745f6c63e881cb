//! What the desk does with what workers say, step by step, without its thread.
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use super::*;
use crate::conn::admission::Book;
use crate::conn::handoff::dispatch::{Accepted, PATIENCE};
use crate::conn::handoff::front::Handoff;
use crate::conn::handoff::passing::{Heard, ToPrimary, ToWorker};
use crate::id::WorkerId;
use crate::scheduling::Scheduling;

const LISTENER: u16 = 0;
const OTHER: u16 = 1;
const WORKER: PeerId = PeerId::Worker(WorkerId(1));

/// A desk with one listener and one worker, which waits for connections.
struct Scene {
    handoff: Handoff,
    desk: Desk,
    listener: TcpListener,
    addr: SocketAddr,
    /// The worker's.
    page: Arc<Mapped<Page>>,
    socket: OwnedFd,
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener, addr)
}

impl Scene {
    fn new() -> Self {
        Self::with(AdmissionPolicy { book: None, refuses: false })
    }

    fn with(policy: AdmissionPolicy) -> Self {
        let (listener, addr) = listen();
        let host = Host::new(LISTENER, OwnedFd::from(listener.try_clone().unwrap()).into());
        let schedulings = vec![Some(Scheduling::RoundRobin); 2];
        let (handoff, mut desk) = Handoff::with_desk(vec![host], schedulings, policy).unwrap();
        let page = Arc::new(Mapped::<Page>::create(c"test").unwrap().0);
        let socket = handoff.join(WORKER, page.clone(), None).unwrap();
        assert_eq!(desk.obey_all(), Orders::ToCome);
        let mut scene = Self { handoff, desk, listener, addr, page, socket };
        scene.says(ToPrimary::Here);
        scene
    }

    /// The worker says something, and is heard.
    fn says(&mut self, said: ToPrimary) {
        said.send(self.socket.as_fd()).unwrap();
        self.desk.hear_worker(WORKER);
    }

    /// Connections were accepted; they are offered, and the worker is told as far as it must be.
    fn offers(&mut self, count: usize) {
        for _ in 0..count {
            let fd = UnixStream::pair().unwrap().0.into();
            self.desk.dispatch.add(Accepted { connection: Held { fd, counted: None }, listener: LISTENER });
        }
        self.desk.offer(Instant::now());
        self.desk.ring();
    }

    /// The desk looks who has come, and accepts.
    fn turn(&mut self) {
        self.desk.mind_listeners();
        let mut events = [EpollEvent::empty(); EVENTS];
        let count = self.desk.set.wait(&mut events, EpollTimeout::ZERO).unwrap();
        assert_eq!(self.desk.hear_all(&mut events[..count]), Orders::ToCome);
    }

    /// Whether the worker is told something.
    fn is_rung(&self) -> bool {
        match ToWorker::receive(self.socket.as_fd()) {
            Heard::Said(ToWorker::Ring) => true,
            Heard::Nothing => false,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_worker_is_told_of_an_offer_once_however_often_it_says_that_it_is_there() {
    let mut scene = Scene::new();
    scene.offers(1);
    assert!(scene.is_rung());
    // It waits at another listener: what it was told of is no news.
    for _ in 0..3 {
        scene.says(ToPrimary::Here);
        scene.desk.ring();
        assert!(!scene.is_rung(), "each ring would be answered, and so on for ever");
    }
    scene.offers(1);
    assert!(scene.is_rung(), "that is another");
    // One that comes before it has answered it may have missed.
    scene.offers(1);
    assert!(!scene.is_rung());
    scene.says(ToPrimary::Here);
    scene.desk.ring();
    assert!(scene.is_rung());
    assert_eq!(scene.page.offers.claim(&[LISTENER], MOST), 3);
}

#[test]
fn a_worker_whose_offer_is_taken_back_is_asked_whether_it_is_there() {
    let mut scene = Scene::new();
    scene.offers(2);
    assert!(scene.is_rung());
    // It answers, and leaves one of both: for later, and then it has its fill.
    assert_eq!(scene.page.offers.claim(&[LISTENER], 1), 1);
    scene.says(ToPrimary::Claims);
    scene.page.stand(Stance::Full);
    scene.desk.take_back(Instant::now() + PATIENCE);
    assert!(!scene.page.offers.waits(&[LISTENER]));
    scene.page.stand(Stance::Takes);
    scene.desk.offer(Instant::now());
    assert!(!scene.page.offers.waits(&[LISTENER]), "it is offered nothing until it says that it is there");
    // What else it says is no answer.
    scene.says(ToPrimary::Room);
    scene.desk.ring();
    assert!(scene.is_rung(), "nobody would ever offer it anything otherwise");
    scene.says(ToPrimary::Here);
    scene.desk.offer(Instant::now());
    assert!(scene.page.offers.waits(&[LISTENER]));
}

#[test]
fn a_worker_that_does_not_stop_talking_does_not_keep_the_others_waiting() {
    let mut scene = Scene::new();
    (0..100).for_each(|_| ToPrimary::Here.send(scene.socket.as_fd()).unwrap());
    scene.desk.hear_worker(WORKER);
    let left = |scene: &Scene| {
        let mut events = [EpollEvent::empty(); 1];
        scene.desk.set.wait(&mut events, EpollTimeout::ZERO).unwrap() > 0
    };
    // The bell was heard, nobody is at the listener.
    assert!(left(&scene), "it is heard again after the others");
    scene.desk.hear_worker(WORKER);
    assert!(!left(&scene), "and then nothing is left");
}

#[test]
fn a_listener_that_is_flooded_takes_no_room_from_another_for_long() {
    let mut scene = Scene::new();
    let (other, addr) = listen();
    scene.desk.hosts.push(Host::new(OTHER, OwnedFd::from(other).into()));
    let _flood: Vec<_> = (0..2 * MOST).map(|_| TcpStream::connect(scene.addr).unwrap()).collect();
    let _single = TcpStream::connect(addr).unwrap();
    scene.turn();
    let mut turns = 0;
    while !scene.page.offers.waits(&[OTHER]) {
        assert_eq!(scene.page.offers.claim(&[LISTENER], 1), 1, "it claims one, and there is room for one");
        scene.says(ToPrimary::Claims);
        scene.turn();
        turns += 1;
        assert!(turns <= 1, "all the room there was has gone to the flood, again");
    }
}

#[test]
fn who_has_a_place_in_a_full_cluster_is_not_refused_because_a_worker_dies() {
    let book = Book::begin(1, Arc::new(Bell::new().unwrap())).unwrap();
    let mut scene = Scene::with(AdmissionPolicy { book: Some(book), refuses: true });
    let _client = TcpStream::connect(scene.addr).unwrap();
    scene.turn();
    assert!(scene.page.offers.waits(&[LISTENER]));
    scene.handoff.leave(WORKER);
    scene.desk.obey_all();
    scene.desk.refuse_homeless();
    assert!(scene.desk.dispatch.has_homeless(), "it waits for the next worker");
    assert_eq!(scene.desk.hosts[0].socket.refused(), 0);
}

#[test]
fn nothing_is_accepted_from_the_moment_of_the_close_on() {
    let mut scene = Scene::new();
    let _client = TcpStream::connect(scene.addr).unwrap();
    // Nobody waits for the thread: it has not heard of it.
    scene.handoff.close();
    scene.desk.accept(LISTENER);
    assert!(scene.desk.dispatch.is_empty());
    assert!(scene.listener.accept().is_ok(), "whoever helps himself has it");
}

#[test]
fn a_listener_that_fails_again_and_again_is_left_alone_for_a_while() {
    let mut scene = Scene::new();
    // Nothing is accepted there, ever: EOPNOTSUPP.
    let socket = OwnedFd::from(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).into();
    scene.desk.hosts = vec![Host::new(LISTENER, socket)];
    scene.desk.mind_listeners();
    assert!(scene.desk.hosts[0].inside);
    scene.desk.accept(LISTENER);
    scene.desk.mind_listeners();
    assert!(!scene.desk.hosts[0].inside, "it is waited for no more");
    assert!(scene.desk.pause.take().is_some(), "for a while");
    scene.desk.mind_listeners();
    assert!(scene.desk.hosts[0].inside, "and then it is again");
}

#[test]
fn the_thread_ends_with_what_it_works_for() {
    let Scene { handoff, desk, .. } = Scene::new();
    let (ended, hears) = mpsc::channel();
    thread::spawn(move || {
        desk.run();
        ended.send(())
    });
    drop(handoff);
    hears.recv_timeout(Duration::from_secs(60)).unwrap();
}
