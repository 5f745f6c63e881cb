//! One process beside others at one path.
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use super::*;

/// A folder of one test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("cluster-uds-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self) -> PathBuf {
        self.0.join("app.sock")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn try_open(uds: impl Into<Uds>) -> Result<Opened, StartError> {
    open(&uds.into(), Backlog::default())
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_socket_is_there_while_it_is_held_and_gone_after() {
    let folder = Folder::new("made");
    let opened = try_open(folder.path()).unwrap();
    assert_eq!(opened.place.to_string(), format!("unix:{}", folder.path().display()));
    UnixStream::connect(folder.path()).unwrap();
    drop(opened);
    assert!(!folder.path().exists());
}

#[test]
fn mode_and_owner_are_what_was_asked_for() {
    let folder = Folder::new("mode");
    for mode in [0o600, 0o666, 0o777] {
        let opened = try_open(Uds::new(folder.path()).mode(mode)).unwrap();
        assert_eq!(mode_of(&folder.path()), mode, "whatever the umask");
        drop(opened);
    }
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return println!("skipped: only root may give files away");
    }
    let opened = try_open(Uds::new(folder.path()).owner(33, 34)).unwrap();
    let file = fs::metadata(folder.path()).unwrap();
    assert_eq!((file.uid(), file.gid()), (33, 34));
    drop(opened);
    let _opened = try_open(Uds::new(folder.path()).group(35).mode(0o660)).unwrap();
    let file = fs::metadata(folder.path()).unwrap();
    assert_eq!((file.uid(), file.gid(), file.mode() & 0o777), (0, 35, 0o660));
}

#[test]
fn a_mode_that_was_not_written_in_octal_is_told() {
    let folder = Folder::new("octal");
    let err = try_open(Uds::new(folder.path()).mode(660)).unwrap_err().to_string();
    assert!(err.contains("octal") && err.contains("app.sock"), "{err}");
}

#[test]
fn what_an_earlier_run_has_left_is_replaced() {
    let folder = Folder::new("stale");
    drop(UnixListener::bind(folder.path()).unwrap());
    assert!(folder.path().exists());
    let opened = try_open(folder.path()).unwrap();
    UnixStream::connect(folder.path()).unwrap();
    drop(opened);
    // One whose queue was closed by workers that outlive their primary, too.
    let orphaned = UnixListener::bind(folder.path()).unwrap();
    crate::conn::ListeningSocket::from(std::os::fd::OwnedFd::from(orphaned.try_clone().unwrap())).shut_down();
    try_open(folder.path()).unwrap();
}

#[test]
fn nobody_who_answers_is_replaced() {
    let folder = Folder::new("alive");
    let listener = UnixListener::bind(folder.path()).unwrap();
    let in_use = |what: &str| {
        let err = try_open(folder.path()).unwrap_err();
        assert!(matches!(err, StartError::AddressInUse { .. }), "{what}: {err}");
        assert!(err.to_string().contains("app.sock"), "{what}: {err}");
    };
    in_use("a listener");
    // Until its queue is full: then a connection is answered neither way.
    socket2::SockRef::from(&listener).listen(0).unwrap();
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let client = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        let _ = client.connect(&SockAddr::unix(folder.path()).unwrap());
        waiting.push(client);
    }
    in_use("a listener that is busy");
    drop(listener);
    fs::remove_file(folder.path()).unwrap();
    let _datagrams = UnixDatagram::bind(folder.path()).unwrap();
    in_use("a socket for datagrams");
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let folder = Folder::new("file");
    let path = folder.path();
    let kept = |found: &str| {
        let err = try_open(&path).unwrap_err();
        assert!(matches!(err, StartError::NotASocket { .. }), "{err}");
        assert!(err.to_string().contains(found) && err.to_string().contains("app.sock"), "{err}");
        assert!(fs::symlink_metadata(&path).is_ok(), "{found}");
    };
    fs::write(&path, "precious").unwrap();
    kept("a regular file");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/nowhere", &path).unwrap();
    kept("a symbolic link");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    kept("a directory");
}

#[test]
fn of_many_that_start_at_once_one_has_the_path() {
    let folder = Folder::new("race");
    for _ in 0..20 {
        // Each finds it stale.
        drop(UnixListener::bind(folder.path()).unwrap());
        let won: Vec<_> = thread::scope(|scope| {
            let start = || scope.spawn(|| try_open(folder.path()));
            let starters: Vec<_> = (0..8).map(|_| start()).collect();
            starters.into_iter().map(|starter| starter.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|opened| opened.is_ok()).count(), 1);
        UnixStream::connect(folder.path()).unwrap();
    }
}

#[test]
fn a_file_that_is_anothers_by_now_is_left() {
    let folder = Folder::new("successor");
    let first = try_open(folder.path()).unwrap();
    first.listener.shut_down();
    let second = try_open(folder.path()).unwrap();
    drop(first);
    UnixStream::connect(folder.path()).unwrap();
    drop(second);
    assert!(!folder.path().exists());
}

#[test]
fn a_path_may_be_longer_than_an_address() {
    let folder = Folder::new("long");
    for depth in [LONGEST - 8, LONGEST, 300] {
        let mut deep = folder.0.clone();
        while deep.as_os_str().len() < depth {
            deep.push("d".repeat(20));
        }
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("app.sock");
        let opened = try_open(&path).unwrap();
        let held = File::open(&deep).unwrap();
        UnixStream::connect(format!("/proc/self/fd/{}/app.sock", held.as_raw_fd())).unwrap();
        // A second one is refused there, too, and a stale one replaced.
        assert!(matches!(try_open(&path), Err(StartError::AddressInUse { .. })));
        drop(opened);
        assert!(!path.exists());
    }
    let err = try_open(folder.0.join("n".repeat(120))).unwrap_err();
    assert!(matches!(err, StartError::NameTooLong { .. }), "{err}");
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let folder = Folder::new("missing");
    let err = try_open(folder.0.join("none/app.sock")).unwrap_err().to_string();
    assert!(err.contains("none/app.sock") && err.contains("directory: make it"), "{err}");
    for none in ["/", "/tmp/.."] {
        let err = try_open(none).unwrap_err().to_string();
        assert!(err.contains("no path of a file"), "{err}");
    }
    // No abstract name: orphaned workers would keep it from a successor.
    for none in ["\0app", "ap\0p"] {
        let err = try_open(none).unwrap_err();
        assert!(matches!(err, StartError::SocketFile { .. }), "{err}");
    }
}
