//! A program under test: started, waited for, stopped, and checked for what it leaves.
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::supervise::announce::VARIABLE;
use crate::testing::heard::{Heard, WorkerProcess, hear};

/// How long a program may take for what a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often what cannot be waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A cluster program that a test has started. Dropped, it and all its processes are killed.
///
/// # Example
/// ```no_run
/// use cluster_core::testing::Process;
/// use std::process::Command;
/// # const CARGO_BIN_EXE_APP: &str = "app";
/// // In an integration test: Command::new(env!("CARGO_BIN_EXE_app"))
/// let app = Process::start(Command::new(CARGO_BIN_EXE_APP))?;
/// let stream = std::net::TcpStream::connect(app.addr())?;
/// // ... talk to it ...
/// drop(stream);
/// let status = app.stop()?; // an error where a process is left
/// assert!(status.success());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Process {
    child: Child,
    heard: Arc<Heard>,
    folder: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts the program and waits until all its workers are ready.
    ///
    /// # Errors
    /// It cannot be started, ends before it is ready, or takes longer than a minute; then nothing of it is
    /// left.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::testing::Process;
    /// let mut command = std::process::Command::new("target/debug/app");
    /// command.arg("127.0.0.1:0").env("CLUSTER_WORKERS", "4");
    /// let app = Process::start(command)?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn start(command: Command) -> io::Result<Self> {
        let mut process = Self::launch(command)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if process.heard.news().all_ready {
                return Ok(process);
            }
            if let Some(status) = process.child.try_wait()? {
                process.status = Some(status);
                return Err(io::Error::other(format!("the program ended before it was ready ({status})")));
            }
            if Instant::now() >= deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the program was not ready in a minute"));
            }
            process.heard.wait(LOOK_EVERY);
        }
    }

    /// Starts the program and waits for nothing.
    ///
    /// # Errors
    /// It cannot be started.
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::testing::Process;
    /// let app = Process::launch(std::process::Command::new("target/debug/app"))?;
    /// let status = app.wait()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn launch(mut command: Command) -> io::Result<Self> {
        let folder = make_folder()?;
        let socket = folder.join("announce");
        let listener = UnixListener::bind(&socket)?;
        let heard = Arc::new(Heard::default());
        let child =
            command.env(VARIABLE, &socket).spawn().inspect_err(|_| drop(fs::remove_dir_all(&folder)))?;
        let hearing = heard.clone();
        // Ends with the program: when its last process has closed its end, or `drop` connects in vain.
        thread::Builder::new().name("announcements".into()).spawn(move || hear(&listener, &hearing))?;
        Ok(Self { child, heard, folder, status: None })
    }

    /// The first TCP address it listens on.
    ///
    /// # Panics
    /// Where it has announced none: it is not ready, or listens on unix sockets only.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// std::net::TcpStream::connect(app.addr())?;
    /// # Ok(()) }
    /// ```
    pub fn addr(&self) -> SocketAddr {
        *self.addrs().first().expect("the program has announced an address")
    }

    /// All TCP addresses it listens on. Unix sockets are where the program was told to make them.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) {
    /// assert_eq!(app.addrs().len(), 1);
    /// # }
    /// ```
    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.heard.news().addrs.clone()
    }

    /// The primary's process id.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) {
    /// println!("{}", app.pid());
    /// # }
    /// ```
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The fork server's process id; a program of the exec method has none.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) {
    /// assert!(app.fork_server().is_some());
    /// # }
    /// ```
    pub fn fork_server(&self) -> Option<u32> {
        self.heard.news().fork_server
    }

    /// The director's process id, while there is one that is ready; a program without code for the primary's
    /// side has none.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) {
    /// assert!(app.director().is_none());
    /// # }
    /// ```
    pub fn director(&self) -> Option<u32> {
        self.heard.news().director
    }

    /// Waits until there is a director that is ready, other than `not`; answers with its process id.
    ///
    /// # Errors
    /// There is none within a minute.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// let first = app.wait_for_director(None)?;
    /// // ... kill it ...
    /// let second = app.wait_for_director(Some(first))?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_director(&self, not: Option<u32>) -> io::Result<u32> {
        wait_until("there is no director, or no new one", || {
            let director = self.director().filter(|pid| Some(*pid) != not);
            if director.is_none() {
                self.heard.wait(LOOK_EVERY);
            }
            director
        })
    }

    /// The workers that are ready, and neither drain nor have ended, by slot.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) {
    /// let victim = app.workers()[0];
    /// # }
    /// ```
    pub fn workers(&self) -> Vec<WorkerProcess> {
        let mut workers = self.heard.news().workers.clone();
        workers.sort_by_key(|worker| (worker.slot, worker.id));
        workers
    }

    /// Waits until `is_so` holds of the [`workers`](Self::workers); answers with them.
    ///
    /// # Errors
    /// It does not hold within a minute.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// let replaced = app.wait_for_workers(|workers| workers.iter().any(|worker| worker.id == 5))?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_workers(
        &self,
        is_so: impl Fn(&[WorkerProcess]) -> bool,
    ) -> io::Result<Vec<WorkerProcess>> {
        wait_until("the workers are not as the test wants them", || {
            let workers = self.workers();
            if is_so(&workers) {
                return Some(workers);
            }
            self.heard.wait(LOOK_EVERY);
            None
        })
    }

    /// Waits until the program has announced a line that begins with `start`, beyond the first `seen` lines;
    /// answers with how many lines there were then.
    ///
    /// # Errors
    /// It does not come within a minute.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// app.wait_for_line("fork-server-lost", 0)?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_line(&self, start: &str, seen: usize) -> io::Result<usize> {
        wait_until(&format!("the program never announced `{start}`"), || {
            let news = self.heard.news();
            let found = news.lines.iter().skip(seen).position(|line| line.starts_with(start));
            drop(news);
            match found {
                Some(at) => Some(seen + at + 1),
                None => {
                    self.heard.wait(LOOK_EVERY);
                    None
                }
            }
        })
    }

    /// Sends a signal to the primary.
    ///
    /// # Errors
    /// It is gone, or the number is no signal.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// app.signal(15)?; // SIGTERM
    /// # Ok(()) }
    /// ```
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        send_signal(self.pid(), signal)
    }

    /// All its processes that are not zombies: primary, fork server, director, workers and what
    /// they started.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) {
    /// assert!(app.processes().contains(&app.pid()));
    /// # }
    /// ```
    pub fn processes(&self) -> Vec<u32> {
        marked_by(&self.folder)
    }

    /// Asks the primary to stop (SIGTERM), waits for its end and checks that nothing is left.
    ///
    /// # Errors
    /// It does not end within a minute, or a process of it is still there when it has.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// assert!(app.stop()?.success());
    /// # Ok(()) }
    /// ```
    pub fn stop(self) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGTERM as i32)?;
        self.wait()
    }

    /// Waits for the primary's end and checks that nothing is left.
    ///
    /// # Errors
    /// It does not end within a minute, or a process of it is still there when it has.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// assert_eq!(app.wait()?.code(), Some(70));
    /// # Ok(()) }
    /// ```
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        let status = self.wait_for_primary()?;
        let left = self.processes();
        if left.is_empty() {
            Ok(status)
        } else {
            Err(io::Error::other(format!("processes are left: {left:?}")))
        }
    }

    /// Waits for the primary's end, and for nothing else: to see what becomes of its workers.
    ///
    /// # Errors
    /// It does not end within a minute.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(mut app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// app.signal(9)?;
    /// app.wait_for_primary()?;
    /// app.wait_for_no_process()?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_primary(&mut self) -> io::Result<ExitStatus> {
        if let Some(status) = self.status {
            return Ok(status);
        }
        let child = &mut self.child;
        let status = wait_until("the primary did not end", || match child.try_wait() {
            Ok(Some(status)) => Some(Ok(status)),
            Ok(None) => {
                thread::sleep(LOOK_EVERY);
                None
            }
            Err(err) => Some(Err(err)),
        })??;
        self.status = Some(status);
        Ok(status)
    }

    /// Waits until none of its processes is left; answers with how long that took.
    ///
    /// # Errors
    /// Some are there after a minute.
    ///
    /// # Example
    /// ```no_run
    /// # fn f(app: cluster_core::testing::Process) -> std::io::Result<()> {
    /// let took = app.wait_for_no_process()?;
    /// # Ok(()) }
    /// ```
    pub fn wait_for_no_process(&self) -> io::Result<Duration> {
        let start = Instant::now();
        wait_until("processes of the program are left", || {
            if self.processes().is_empty() {
                return Some(start.elapsed());
            }
            thread::sleep(LOOK_EVERY);
            None
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // What dies may just have forked: until nothing is left, for as long as that is worth a test.
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            left.into_iter().for_each(|pid| drop(send_signal(pid, Signal::SIGKILL as i32)));
            thread::sleep(LOOK_EVERY);
        }
        // Lets the hearing thread go where the program never connected.
        let _ = UnixStream::connect(self.folder.join("announce"));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A folder of this test's own.
fn make_folder() -> io::Result<PathBuf> {
    loop {
        let name = format!("cluster-{}-{:08x}", std::process::id(), fastrand::u32(..));
        let folder = std::env::temp_dir().join(name);
        match fs::create_dir(&folder) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => continue,
            other => return other.map(|()| folder),
        }
    }
}

/// Processes whose environment names the folder. A zombie has none any more.
fn marked_by(folder: &Path) -> Vec<u32> {
    let mark = format!("{VARIABLE}={}", folder.join("announce").display());
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|pair| pair == mark.as_bytes())
        })
        .collect()
}

fn send_signal(pid: u32, signal: i32) -> io::Result<()> {
    let signal = Signal::try_from(signal)?;
    kill(Pid::from_raw(pid as i32), signal).map_err(io::Error::from)
}

fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> io::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, what.to_owned()));
        }
    }
}
