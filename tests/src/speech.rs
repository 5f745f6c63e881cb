//! A `speaker` under test: what its processes are told, and what they have heard.
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{PATIENCE, Process, eventually};

/// The running program, with the folder of its sockets and of what it hears.
#[derive(Debug)]
pub struct Speech {
    /// Its processes.
    pub app: Process,
    folder: PathBuf,
}

/// A line that was said to a process; its answer may take a while.
#[derive(Debug)]
pub struct Line(UnixStream);

impl Line {
    /// Waits for the answer. A process that ends without one is an error.
    pub fn answer(self) -> io::Result<String> {
        let mut answer = String::new();
        BufReader::new(self.0).read_line(&mut answer)?;
        if answer.is_empty() {
            Err(io::ErrorKind::UnexpectedEof.into())
        } else {
            Ok(answer.trim_end().to_owned())
        }
    }
}

impl Speech {
    /// Starts `program METHOD FOLDER KNOB..` and waits until all its workers are ready.
    pub fn start(program: &str, method: &str, knobs: &[&str]) -> Self {
        let (command, folder) = command(program, method, knobs);
        let app = Process::start(command).unwrap_or_else(|err| {
            panic!("{method}: {err}: {}", fs::read_to_string(folder.join("stderr")).unwrap_or_default())
        });
        Self { app, folder }
    }

    /// Starts it and waits for nothing.
    pub fn launch(program: &str, method: &str, knobs: &[&str]) -> Self {
        let (command, folder) = command(program, method, knobs);
        Self { app: Process::launch(command).unwrap(), folder }
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes an empty file, for a process that waits for it.
    pub fn make(&self, name: &str) {
        fs::write(self.path(name), "").unwrap();
    }

    /// Says a line to a process (`slot-0`, `director`), as soon as it listens.
    pub fn begin(&self, whom: &str, line: &str) -> Line {
        let mut stream = None;
        eventually(&format!("{whom} listens"), || {
            stream = UnixStream::connect(self.path(whom)).ok();
            stream.is_some()
        });
        let mut stream = stream.unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(format!("{line}\n").as_bytes()).unwrap();
        Line(stream)
    }

    /// Says a line to a process and takes the answer.
    pub fn tell(&self, whom: &str, line: &str) -> String {
        self.begin(whom, line).answer().unwrap_or_else(|err| panic!("{whom}: {line}: {err}: {}", self.log()))
    }

    /// What a process and its predecessors in its place have heard.
    pub fn heard(&self, whom: &str) -> Vec<String> {
        let text = fs::read_to_string(self.path(&format!("{whom}.heard"))).unwrap_or_default();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until a process has heard what is wanted.
    pub fn wait_until_heard(&self, whom: &str, is_so: impl Fn(&[String]) -> bool) -> Vec<String> {
        let mut heard = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        loop {
            heard.clone_from(&self.heard(whom));
            if is_so(&heard) {
                return heard;
            }
            let last: Vec<_> = heard.iter().rev().take(8).collect();
            assert!(std::time::Instant::now() < deadline, "{whom} has heard {last:#?}; {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// Waits until a process has heard this line.
    pub fn wait_for(&self, whom: &str, line: &str) {
        self.wait_until_heard(whom, |heard| heard.iter().any(|heard| heard == line));
    }

    /// What the program wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }
}

impl Drop for Speech {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The command, and the new folder that it names.
fn command(program: &str, method: &str, knobs: &[&str]) -> (Command, PathBuf) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("cluster-speech-{}-{number}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    let mut command = crate::subject_at(program, method, &folder.display().to_string(), knobs);
    command.stderr(fs::File::create(folder.join("stderr")).unwrap());
    (command, folder)
}

/// The numbers of the messages from one sender (a worker's number, or `primary`), as they were heard. One that
/// is not as it was sent is a panic.
pub fn numbers(heard: &[String], sender: impl std::fmt::Display) -> Vec<u64> {
    let start = format!("said {sender} ");
    let said = heard.iter().filter_map(|line| line.strip_prefix(&start));
    said.map(|rest| {
        assert!(rest.ends_with(" whole"), "{rest}");
        rest.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{rest}"))
    })
    .collect()
}

/// Checks that of one sender these messages were heard, each once and in order.
pub fn expect(heard: &[String], sender: impl std::fmt::Display, expected: std::ops::RangeInclusive<u64>) {
    let said = numbers(heard, &sender);
    if !said.iter().copied().eq(expected.clone()) {
        let wrong = said.iter().copied().zip(expected.clone()).find(|(said, expected)| said != expected);
        let len = said.len();
        panic!(
            "of {sender} {len} messages were heard, and not {expected:?}; the first that is wrong: {wrong:?}"
        );
    }
}
