//! A process's standard error on its way to where it really goes: by whole lines, since others write there, too.
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::birth::arrival::StderrRelay;
use crate::scoreboard::Page;
use crate::sys::page::{self, Mapped};
use crate::sys::voice::Voice;
use crate::tail::CHUNK;

/// For so long a line that has begun is kept until its end comes. `eprintln!` writes a line in pieces.
const LINE_WITHIN: Duration = Duration::from_millis(100);
/// How much is passed on at the end at the most: somebody may write on and on.
const LAST_STEPS: usize = 64;

/// What is on the way is in the page. It allocates nothing and takes no lock.
pub(super) struct Relay {
    read: OwnedFd,
    real: Voice,
    page: Arc<Mapped<Page>>,
    /// Nothing more comes: what is there is the last.
    ended: bool,
    /// What does not end a line goes then, too. None: the last that came was the end of a line.
    line_until: Option<Instant>,
}

impl Relay {
    pub(super) fn new(stderr: StderrRelay, page: Arc<Mapped<Page>>) -> Self {
        // `write` is dropped: the process has it as descriptor 2.
        let StderrRelay { read, real, write: _ } = stderr;
        Self { read, real: Voice::of(real), page, ended: false, line_until: None }
    }

    pub(super) fn page(&self) -> &Mapped<Page> {
        &self.page
    }

    /// Whether there may be more to pass on.
    pub(super) fn is_open(&self) -> bool {
        !self.ended || self.page.tail.unwritten() > 0
    }

    /// What the next step waits for: room for what is to go, else more to read.
    pub(super) fn waits_for(&self, now: Instant) -> (BorrowedFd<'_>, PollFlags) {
        if self.ready(now) == 0 {
            (self.read.as_fd(), PollFlags::POLLIN)
        } else {
            (self.real.as_fd(), PollFlags::POLLOUT)
        }
    }

    /// When to look again though nothing comes: the rest of a line did not.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        self.line_until.filter(|at| *at > now)
    }

    /// Reads or writes once, as was waited for at `now`; waits for neither.
    pub(super) fn step(&mut self, now: Instant) {
        match self.ready(now) {
            0 => self.take_in(now),
            count => self.pass_on(count),
        }
    }

    /// Passes on what is there without waiting; what then remains the primary passes on after the exit.
    pub(super) fn finish(&mut self) {
        let mut now = Instant::now();
        for _ in 0..LAST_STEPS {
            let (fd, wanted) = self.waits_for(now);
            let mut fds = [PollFd::new(fd, wanted)];
            if !self.is_open() {
                return;
            }
            if matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1..)) {
                self.step(now);
            } else if let Some(at) = self.due(now) {
                // What has begun a line does not go on.
                now = at;
            } else {
                return;
            }
        }
    }

    /// How many bytes of what was read may go: whole lines, or all where there is nothing to be waited for.
    fn ready(&self, now: Instant) -> usize {
        let (all, lines) = (self.page.tail.unwritten(), self.page.tail.whole_lines());
        let is_over = self.ended || all == CHUNK || self.line_until.is_some_and(|at| at <= now);
        if lines == 0 && is_over { all } else { lines }
    }

    fn take_in(&mut self, now: Instant) {
        match self.page.tail.fill(|free| page::read(self.read.as_fd(), free)) {
            Ok(1..) => {
                let tail = &self.page.tail;
                let (lines, all) = (tail.whole_lines(), tail.unwritten());
                if lines == all {
                    self.line_until = None;
                } else if lines > 0 || self.line_until.is_none() {
                    self.line_until = Some(now + LINE_WITHIN);
                }
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ok(0) | Err(_) => self.ended = true,
        }
    }

    fn pass_on(&mut self, count: usize) {
        let mut bytes = [0; CHUNK];
        let bytes = self.page.tail.copy(count, &mut bytes);
        match self.real.write(bytes) {
            // AFTER it is written: until then it is in the page, which outlives this process.
            Ok(written) => self.page.tail.take(written),
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // Nobody reads the real one any more: the page still gets every byte.
            Err(_) => self.page.tail.take(bytes.len()),
        }
        if self.page.tail.unwritten() == 0 {
            self.line_until = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    /// A relay, what a process writes to, and where it goes.
    struct World {
        relay: Relay,
        stderr: std::io::PipeWriter,
        real: std::io::PipeReader,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let (read, stderr) = std::io::pipe().unwrap();
            let (mut real, voice) = std::io::pipe().unwrap();
            let null = std::fs::File::open("/dev/null").unwrap();
            let stderr_relay = StderrRelay { read: read.into(), write: null.into(), real: voice.into() };
            let page = Arc::new(Mapped::create(c"test").unwrap().0);
            let flags = nix::fcntl::OFlag::O_NONBLOCK;
            nix::fcntl::fcntl(&mut real, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
            Self { relay: Relay::new(stderr_relay, page), stderr, real, now: Instant::now() }
        }

        /// All that the relay does for something that is written, and what is heard of it.
        fn hears(&mut self, written: &[u8]) -> String {
            self.stderr.write_all(written).unwrap();
            self.heard()
        }

        fn heard(&mut self) -> String {
            loop {
                let (fd, wanted) = self.relay.waits_for(self.now);
                if !matches!(poll(&mut [PollFd::new(fd, wanted)], PollTimeout::ZERO), Ok(1..)) {
                    break;
                }
                self.relay.step(self.now);
                if !self.relay.is_open() {
                    break;
                }
            }
            let mut heard = vec![0; 4 * CHUNK];
            let count = self.real.read(&mut heard).unwrap_or_default();
            String::from_utf8_lossy(&heard[..count]).into_owned()
        }
    }

    #[test]
    fn a_line_that_is_written_in_pieces_goes_as_one() {
        let mut world = World::new();
        assert_eq!(world.hears(b"main of "), "");
        assert_eq!(world.hears(b"7"), "");
        assert_eq!(world.hears(b" ends\nand th"), "main of 7 ends\n");
        assert_eq!(world.hears(b"en\n"), "and then\n");
        assert_eq!(world.relay.due(world.now), None);
    }

    #[test]
    fn what_does_not_go_on_is_not_kept_for_ever() {
        let mut world = World::new();
        assert_eq!(world.hears(b"password: "), "");
        assert_eq!(world.relay.due(world.now), Some(world.now + LINE_WITHIN));
        // More of the line is no reason to wait longer.
        world.now += LINE_WITHIN / 2;
        assert_eq!(world.hears(b"?"), "");
        world.now += LINE_WITHIN / 2;
        assert_eq!(world.heard(), "password: ?");
        assert_eq!(world.relay.due(world.now), None);
    }

    #[test]
    fn a_line_that_is_longer_than_the_page_goes_in_pieces_and_whole() {
        let mut world = World::new();
        let line = [b"x".repeat(2 * CHUNK + 5), b"\nrest".to_vec()].concat();
        let heard = world.hears(&line);
        assert_eq!(heard.len(), 2 * CHUNK + 6);
        assert_eq!(world.hears(b"\n"), "rest\n");
    }

    #[test]
    fn more_lines_than_the_page_holds_go_whole_each() {
        let mut world = World::new();
        let line = [&[b'y'; 99][..], b"\n"].concat();
        world.stderr.write_all(&line.repeat(60)).unwrap();
        let mut heard = 0;
        while heard < 60 * 100 {
            world.relay.step(world.now);
            let mut piece = vec![0; 4 * CHUNK];
            let count = world.real.read(&mut piece).unwrap_or_default();
            assert!(count == 0 || piece[..count].ends_with(b"\n"), "a line was cut");
            heard += count;
        }
    }

    #[test]
    fn lines_go_whole_wherever_they_lie_in_the_page() {
        let mut world = World::new();
        for nth in 0..500 {
            let line = format!("line {nth} {}\n", "-".repeat(nth % 97));
            let (first, rest) = line.split_at(line.len() / 2);
            assert_eq!(world.hears(first.as_bytes()), "");
            assert_eq!(world.hears(rest.as_bytes()), line);
        }
    }

    #[test]
    fn the_end_passes_on_what_has_no_end() {
        let mut world = World::new();
        assert_eq!(world.hears(b"last word"), "");
        world.relay.finish();
        assert_eq!(world.heard(), "last word");
        let mut world = World::new();
        assert_eq!(world.hears(b"closed"), "");
        drop(std::mem::replace(&mut world.stderr, std::io::pipe().unwrap().1));
        assert_eq!(world.heard(), "closed");
    }
}
