//! A worker or director whose primary speaks nonsense says so, drains and leaves.
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};

use cluster_core::testing::lines::FalsePrimary;
use cluster_tests::eventually;
use nix::sys::socket::Shutdown;

use cluster_tests::wire::{self, EXCHANGE, Frame, kind, write};

const GARBLER: &str = env!("CARGO_BIN_EXE_garbler");
const ROLES: [&str; 2] = ["worker", "director"];

fn null() -> OwnedFd {
    std::fs::File::open("/dev/null").unwrap().into()
}

/// Says nonsense to a process and waits for its end; answers with what it said of it.
fn leaves(role: &str, nonsense: impl FnOnce(&FalsePrimary)) -> String {
    let mut primary = FalsePrimary::execute(GARBLER, &["await", "-"], role).unwrap();
    primary.wait_until_ready().unwrap();
    nonsense(&primary);
    let mut status = None;
    eventually("it leaves", || {
        status = primary.child.try_wait().unwrap();
        status.is_some()
    });
    let mut said = String::new();
    primary.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(status.unwrap().success(), "{role}: {status:?}: {said}");
    assert!(!said.contains("panicked"), "{role}: {said}");
    said
}

/// What a primary may write to a message socket that is no word of a primary.
fn wrongs(me: u64) -> Vec<(&'static str, Vec<u8>)> {
    let frame = |kind| Frame::new(kind, EXCHANGE, me);
    vec![
        ("a frame of 2863311534 bytes", vec![0xaa; 5000]),
        ("a frame of version 9", Frame { version: 9, ..frame(kind::MESSAGE) }.bytes()),
        ("a frame of unknown kind 77", frame(77).bytes()),
        ("a frame with unknown flags", Frame { flags: 4, ..frame(kind::MESSAGE) }.bytes()),
        ("a frame of 5 bytes", vec![1, 0, 0, 0, 1]),
        ("an address that means nothing", Frame::new(kind::MESSAGE, 99 << 56, me).bytes()),
        ("a report came from the primary", frame(kind::REPORT).bytes()),
        ("a parcel came without its descriptor", frame(kind::MESSAGE).parcel(5).bytes()),
        ("leaves", frame(kind::NOTICE).body(&[0xff; 9]).bytes()),
        ("leaves", frame(kind::CREDIT).body(&[0xff; 9]).bytes()),
        ("leaves", frame(kind::WORD).body(&[0xff; 9]).bytes()),
    ]
}

#[test]
fn a_process_that_cannot_understand_its_primary_says_so_and_leaves() {
    for (role, me) in ROLES.iter().zip([wire::worker(1), wire::DIRECTOR]) {
        for (why, bytes) in wrongs(me) {
            let said = leaves(role, |primary| write(&primary.lines.messages, &bytes, &[]).unwrap());
            let line = said.lines().find(|line| line.contains("cannot understand its primary and leaves"));
            assert!(line.is_some_and(|line| line.contains(why)), "{role}: {why}: {said}");
        }
    }
}

#[test]
fn a_process_whose_primary_writes_mutated_frames_says_so_and_leaves() {
    for (role, me) in ROLES.iter().zip([wire::worker(1), wire::DIRECTOR]) {
        let frame = |kind, from| Frame::new(kind, from, me).body(&[7; 100]);
        let frames = [
            frame(kind::MESSAGE, EXCHANGE),
            frame(kind::MESSAGE, wire::worker(2)),
            frame(kind::MESSAGE, wire::DIRECTOR),
            frame(kind::ASK, wire::worker(2)),
        ];
        for seed in 0..20 {
            let said = leaves(role, |primary| {
                for bytes in wire::mutated(&frames, seed) {
                    // It may have left already.
                    let _ = write(&primary.lines.messages, &bytes, &[]);
                }
                // Where the noise is the body of a long frame: the end of the stream is in its midst.
                nix::sys::socket::shutdown(primary.lines.messages.as_raw_fd(), Shutdown::Write).unwrap();
            });
            assert!(said.contains("cannot understand its primary and leaves"), "{role}: {seed}: {said}");
        }
    }
}

#[test]
fn a_process_takes_no_stray_descriptors_from_its_primary() {
    for (role, me) in ROLES.iter().zip([wire::worker(1), wire::DIRECTOR]) {
        let frame = Frame::new(kind::MESSAGE, EXCHANGE, me).bytes();
        let said =
            leaves(role, |primary| write(&primary.lines.messages, &frame, &[&null(), &null()]).unwrap());
        assert!(said.contains("descriptors came that belong to no frame"), "{role}: {said}");
    }
}

#[test]
fn a_process_whose_primary_breaks_the_control_protocol_leaves() {
    for (role, me) in ROLES.iter().zip([wire::worker(1), wire::DIRECTOR]) {
        for nonsense in [&[0xff; 99][..], &[1; 10_000]] {
            leaves(role, |primary| {
                // Its messages are sound: it is let go when it asks for that.
                let frame = Frame { name: "", ..Frame::new(kind::LEAVE, EXCHANGE, me) };
                write(&primary.lines.messages, &frame.bytes(), &[]).unwrap();
                write(&primary.lines.control, nonsense, &[]).unwrap();
            });
        }
    }
}

#[test]
fn a_process_whose_primary_died_before_it_was_there_is_no_primary_of_its_own() {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use std::process::{Command, Stdio};
    for role in ROLES {
        let flags = SockFlag::SOCK_CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
        // The shell stays, and is the program's parent: another than made the socket.
        let script = "\"$@\" 9<&0 </dev/null; exit $?";
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh", GARBLER, "await", "-"]);
        command.env("CLUSTER_ROLE", format!("{role},fd=9,primary={}", std::process::id()));
        command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::piped());
        drop(ours);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut status = None;
        eventually("it ends", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!status.unwrap().success(), "{role}: {said}");
        assert!(said.contains("cannot join the primary"), "{role}: {said}");
    }
}
