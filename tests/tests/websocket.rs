//! WebSockets do what RFC 6455 says, case by case as the Autobahn test suite has them, on each framework.
use std::process::Command;

use nix::sys::signal::Signal;

use cluster_tests::websocket::{
    BINARY, CLOSE, CONTINUATION, FIN, Frame, Masking, PING, PONG, TEXT, WebSocket, frame,
};
use cluster_tests::{METHODS, Process, signal};

/// Programs that say everything again: `PROGRAM METHOD ADDR`.
const SUBJECTS: [&str; 2] = [env!("CARGO_BIN_EXE_echo_axum"), env!("CARGO_BIN_EXE_echo_actix")];

/// Around each limit of a frame's three kinds of lengths.
const SIZES: [usize; 9] = [0, 1, 125, 126, 127, 128, 65_535, 65_536, 1024 * 1024];

fn start(program: &str, method: &str) -> Process {
    let mut command = Command::new(program);
    command.args([method, "127.0.0.1:0"]).env_remove("CLUSTER_WORKERS").env_remove("WEB_CONCURRENCY");
    Process::start(command).unwrap()
}

/// Runs a test against each subject, and has it stopped.
fn each(test: impl Fn(&Subject)) {
    for program in SUBJECTS {
        let subject = Subject { app: start(program, "fork"), program };
        test(&subject);
        assert!(subject.app.stop().unwrap().success(), "{program}");
    }
}

struct Subject {
    app: Process,
    program: &'static str,
}

impl Subject {
    fn connect(&self) -> WebSocket {
        WebSocket::connect(self.app.addr(), "/").unwrap()
    }

    /// What was sent is answered by this frame.
    fn answers(&self, what: &str, socket: &mut WebSocket, first: u8, payload: &[u8]) {
        let Frame { first: got, payload: carried } =
            socket.next_frame().unwrap().unwrap_or_else(|| panic!("{}: {what}: it is closed", self.program));
        assert_eq!(got, first, "{}: {what}", self.program);
        assert!(carried == payload, "{}: {what}: {} bytes", self.program, carried.len());
    }

    /// The connection is sound: it echoes.
    fn is_sound(&self, what: &str, socket: &mut WebSocket) {
        socket.send(FIN | TEXT, b"still there?").unwrap();
        self.answers(what, socket, FIN | TEXT, b"still there?");
    }

    /// Tries all of these, at once, because actix-web takes a second to close.
    fn all<C: Clone + Send>(&self, cases: &[C], test: impl Fn(C) + Sync) {
        let test = &test;
        std::thread::scope(|scope| {
            cases.iter().cloned().for_each(|case| drop(scope.spawn(move || test(case))));
        });
    }

    /// Whoever sends one of these is not answered.
    fn fail(&self, cases: &[(&str, Vec<Vec<u8>>)]) {
        self.all(cases, |(what, frames)| self.fails(what, &frames));
    }

    /// The connection fails (7.1.7), with or without a word, and the server serves on.
    fn fails(&self, what: &str, frames: &[Vec<u8>]) {
        let mut socket = self.connect();
        for bytes in frames {
            // The server may have closed by now.
            let _ = socket.send_bytes(bytes);
        }
        let _ = socket.send(FIN | TEXT, b"is that all right?");
        let mut said = None;
        while let Some(frame) = socket.next_frame().unwrap() {
            assert_eq!(said, None, "{}: {what}: nothing comes after a close frame", self.program);
            let code = frame.close_code().unwrap_or_else(|| panic!("{}: {what}: {frame:?}", self.program));
            assert!([1002, 1007, 1009].contains(&code), "{}: {what}: closed by {code}", self.program);
            said = Some(code);
        }
        self.is_sound(what, &mut self.connect());
    }
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Masking::Masked)
}

/// Bytes that are a text, too, and nowhere the same for long.
fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at * 7 + at / 26) as u8 % 26).collect()
}

#[test]
fn messages_of_all_sizes_come_back() {
    each(|subject| {
        let mut socket = subject.connect();
        for kind in [TEXT, BINARY] {
            for size in SIZES {
                let payload = payload(size);
                socket.send(FIN | kind, &payload).unwrap();
                subject.answers(&format!("{size} bytes"), &mut socket, FIN | kind, &payload);
            }
        }
    });
}

#[test]
fn a_message_may_come_in_whatever_packets() {
    each(|subject| {
        for piece in [1, 7, 997] {
            let mut socket = subject.connect();
            let payload = payload(piece * 300);
            for bytes in masked(FIN | BINARY, &payload).chunks(piece) {
                socket.send_bytes(bytes).unwrap();
            }
            subject.answers(&format!("pieces of {piece}"), &mut socket, FIN | BINARY, &payload);
        }
    });
}

#[test]
fn a_ping_is_answered_by_its_pong_and_a_pong_by_nothing() {
    each(|subject| {
        let mut socket = subject.connect();
        for size in [0, 1, 125] {
            socket.send(FIN | PING, &payload(size)).unwrap();
            subject.answers("a ping", &mut socket, FIN | PONG, &payload(size));
        }
        socket.send(FIN | PONG, b"nobody has asked").unwrap();
        subject.is_sound("an unasked pong", &mut socket);
        socket.send(FIN | PING, &[0, 0xff, 0xfe]).unwrap();
        subject.answers("a ping that is no text", &mut socket, FIN | PONG, &[0, 0xff, 0xfe]);
    });
}

#[test]
fn a_fragmented_message_comes_back_whole() {
    each(|subject| {
        for pieces in [&["frag", "mented"][..], &["", "a", "", "b", ""], &["one"; 50], &["", ""]] {
            let mut socket = subject.connect();
            let last = pieces.len() - 1;
            for (at, piece) in pieces.iter().enumerate() {
                let kind = if at == 0 { TEXT } else { CONTINUATION };
                let fin = if at == last { FIN } else { 0 };
                socket.send(fin | kind, piece.as_bytes()).unwrap();
            }
            subject.answers("fragments", &mut socket, FIN | TEXT, pieces.concat().as_bytes());
        }
    });
}

#[test]
fn pings_between_fragments_are_answered_at_once() {
    each(|subject| {
        let mut socket = subject.connect();
        socket.send(BINARY, b"one").unwrap();
        for text in ["first", "second"] {
            socket.send(FIN | PING, text.as_bytes()).unwrap();
            subject.answers("a ping between fragments", &mut socket, FIN | PONG, text.as_bytes());
            socket.send(CONTINUATION, b", two").unwrap();
        }
        socket.send(FIN | CONTINUATION, b".").unwrap();
        subject.answers("fragments with pings", &mut socket, FIN | BINARY, b"one, two, two.");
    });
}

#[test]
fn fragments_out_of_order_fail() {
    each(|subject| {
        subject.fail(&[
            ("a continuation of nothing", vec![masked(FIN | CONTINUATION, b"what?")]),
            ("a continuation of nothing, to be continued", vec![masked(CONTINUATION, b"what?")]),
            ("a message within a message", vec![masked(TEXT, b"one"), masked(FIN | TEXT, b"two")]),
            ("a ping in pieces", vec![masked(PING, b"pi"), masked(FIN | CONTINUATION, b"ng")]),
            ("a close in pieces", vec![masked(CLOSE, &1000_u16.to_be_bytes())]),
        ]);
    });
}

#[test]
fn control_frames_of_more_than_125_bytes_fail() {
    let mut long = payload(126);
    long[..2].copy_from_slice(&1000_u16.to_be_bytes());
    let cases = [("ping", PING), ("pong", PONG), ("close", CLOSE)];
    let cases = cases.map(|(what, kind)| (what, vec![masked(FIN | kind, &long)]));
    each(|subject| subject.fail(&cases));
}

#[test]
fn reserved_bits_and_opcodes_fail() {
    let bits = (1..8).map(|bits| ("reserved bits", vec![masked(FIN | bits << 4 | TEXT, b"what?")]));
    let pings = (1..8).map(|bits| ("a ping with reserved bits", vec![masked(FIN | bits << 4 | PING, b"")]));
    let opcodes = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].into_iter();
    let opcodes = opcodes.map(|opcode| ("a reserved opcode", vec![masked(FIN | opcode, b"what?")]));
    let cases: Vec<_> = bits.chain(pings).chain(opcodes).collect();
    each(|subject| subject.fail(&cases));
}

#[test]
fn frames_that_are_not_masked_fail() {
    each(|subject| {
        subject.fail(&[
            ("a bare text", vec![frame(FIN | TEXT, b"what?", Masking::Bare)]),
            ("a bare ping", vec![frame(FIN | PING, b"what?", Masking::Bare)]),
        ]);
    });
}

#[test]
fn a_length_that_nobody_can_mean_fails() {
    let mut bytes = vec![FIN | BINARY, 0x80 | 127];
    bytes.extend(u64::MAX.to_be_bytes());
    bytes.extend([0; 4]);
    each(|subject| subject.fail(&[("a length of 2^64 - 1", vec![bytes.clone()])]));
}

#[test]
fn text_is_utf_8_in_whatever_pieces() {
    let text = "κόσμε, Übung, 日本語, 🦀 \u{10ffff}\u{feff}\u{0}";
    each(|subject| {
        let mut socket = subject.connect();
        socket.send(FIN | TEXT, text.as_bytes()).unwrap();
        subject.answers("text", &mut socket, FIN | TEXT, text.as_bytes());
        for piece in 1..5 {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
            for (at, bytes) in pieces.iter().enumerate() {
                let kind = if at == 0 { TEXT } else { CONTINUATION };
                socket.send(if at + 1 == pieces.len() { FIN | kind } else { kind }, bytes).unwrap();
            }
            subject.answers(&format!("pieces of {piece}"), &mut socket, FIN | TEXT, text.as_bytes());
        }
        socket.send(FIN | BINARY, &[0xff, 0xfe, 0xc0]).unwrap();
        subject.answers("what is no text", &mut socket, FIN | BINARY, &[0xff, 0xfe, 0xc0]);
    });
}

#[test]
fn text_that_is_not_utf_8_fails() {
    let wrong: [(&str, &[u8]); 8] = [
        ("no beginning", b"ab\x80cd"),
        ("no end", b"ab\xce"),
        ("an overlong slash", b"\xc0\xaf"),
        ("an overlong zero", b"\xe0\x80\x80"),
        ("a surrogate", b"\xed\xa0\x80"),
        ("beyond the last code point", b"\xf4\x90\x80\x80"),
        ("five bytes", b"\xf8\x88\x80\x80\x80"),
        ("never a byte of text", b"\xff"),
    ];
    let whole = wrong.iter().map(|(what, bytes)| (*what, vec![masked(FIN | TEXT, bytes)]));
    let split = wrong.iter().map(|(what, bytes)| {
        let (begin, end) = bytes.split_at(1);
        (*what, vec![masked(TEXT, begin), masked(FIN | CONTINUATION, end)])
    });
    let cases: Vec<_> = whole.chain(split).collect();
    each(|subject| subject.fail(&cases));
}

#[test]
fn a_close_is_answered_by_a_close_and_then_the_end() {
    let codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
    each(|subject| {
        subject.all(&codes, |code| {
            let mut socket = subject.connect();
            let payload = [&u16::to_be_bytes(code)[..], &payload_of_reason(code)].concat();
            socket.send(FIN | CLOSE, &payload).unwrap();
            // It comes after the last word, and is not heard.
            let _ = socket.send(FIN | TEXT, b"one more thing");
            let answer =
                socket.next_frame().unwrap().unwrap_or_else(|| panic!("{}: {code}", subject.program));
            assert_eq!(answer.close_code(), Some(code), "{}", subject.program);
            assert_eq!(socket.next_frame().unwrap(), None, "{}: {code}", subject.program);
        });
        let mut socket = subject.connect();
        socket.send(FIN | CLOSE, b"").unwrap();
        let answer = socket.next_frame().unwrap().unwrap();
        assert!(matches!(answer.close_code(), Some(1000 | 1005)), "{}: {answer:?}", subject.program);
        assert_eq!(socket.next_frame().unwrap(), None, "{}", subject.program);
    });
}

/// Reasons of all lengths that there may be.
fn payload_of_reason(code: u16) -> Vec<u8> {
    payload(usize::from(code) % 124)
}

#[test]
fn a_close_that_nobody_may_send_is_not_repeated() {
    let codes = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535];
    each(|subject| {
        subject.all(&codes, |code| {
            let mut socket = subject.connect();
            socket.send(FIN | CLOSE, &u16::to_be_bytes(code)).unwrap();
            while let Some(frame) = socket.next_frame().unwrap() {
                assert_eq!(frame.close_code(), Some(1002), "{}: {code}", subject.program);
            }
        });
        subject.fail(&[
            ("half a code", vec![masked(FIN | CLOSE, &[3])]),
            ("a reason that is no text", vec![masked(FIN | CLOSE, &[3, 0xe8, 0xff, 0xfe])]),
        ]);
    });
}

#[test]
fn whoever_is_connected_is_told_of_a_restart() {
    for program in SUBJECTS {
        for method in METHODS {
            let app = start(program, method);
            let mut sockets: Vec<_> = (0..8).map(|_| WebSocket::connect(app.addr(), "/").unwrap()).collect();
            let seen = app.wait_for_line("all-ready", 0).unwrap();
            let old = app.workers();
            signal(app.pid(), Signal::SIGHUP).unwrap();
            for socket in &mut sockets {
                let told = socket.next_frame().unwrap().expect("it is told, and not cut");
                assert_eq!(told.close_code(), Some(1012), "{program} {method}");
                // What was on its way axum hears; actix-ws has closed, and resets the connection.
                let answered = socket
                    .send(FIN | TEXT, b"on its way")
                    .and_then(|()| socket.send(FIN | CLOSE, &1012_u16.to_be_bytes()));
                assert!(answered.is_ok() || program.ends_with("actix"), "{program} {method}: {answered:?}");
                while socket.next_frame().unwrap().is_some() {}
            }
            app.wait_for_line("reloaded", seen).unwrap();
            // One that has just been told to leave may still take what comes, and says so at once.
            for worker in old {
                app.wait_for_line(&format!("exited {}", worker.id), seen).unwrap();
            }
            let mut socket = WebSocket::connect(app.addr(), "/").unwrap();
            socket.send(FIN | TEXT, b"hello").unwrap();
            assert_eq!(socket.next_frame().unwrap().unwrap().payload, b"hello", "{program} {method}");
            drop(socket);
            assert!(app.stop().unwrap().success(), "{program} {method}");
        }
    }
}
