//! The program as a file: what workers and directors of the exec method, and successors of a fork server,
//! execute.
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, open};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Pid, faccessat};

use crate::birth::descriptor_limit;
use crate::birth::identity::Step;
use crate::birth::service_variables::is_for_the_primary;
use crate::role::{self, Role, Spoken};
use crate::sys::process::{AcrossExec, before_exec};
use crate::sys::start;

/// One generation's executable, held open: a file replaced on disk changes nothing until a reload.
pub(crate) struct Executable {
    file: File,
    start: Arc<Start>,
}

/// How the program was started, and where it is.
struct Start {
    /// Where the next generation is found.
    path: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    /// None: the one that is current, whichever it is.
    directory: Option<PathBuf>,
}

/// What a process is executed with.
pub(crate) struct Execution {
    pub(crate) role: Role,
    /// Its end of the control socket.
    pub(crate) control: OwnedFd,
    /// Where its standard error goes; else where ours goes.
    pub(crate) stderr: Option<OwnedFd>,
    /// Variables that it has besides those of the start, where the start did not set them.
    pub(crate) defaults: Vec<(&'static str, String)>,
    /// Variables that it has whatever the start says.
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// What it becomes before its first instruction.
    pub(crate) steps: Vec<Step>,
    /// It leads a group of its own and hears signals; a fork server does neither.
    pub(crate) own_group: bool,
}

impl Executable {
    /// This very program, as it was started. `binary`: where the next generation is found, where that is not where
    /// this one was.
    pub(crate) fn this(binary: Option<&Path>) -> io::Result<Self> {
        let file = open_path(Path::new(SELF))?;
        let arguments = split(&std::fs::read("/proc/self/cmdline")?);
        // Not `env::vars`: main may have changed those, and shall do so again.
        let environment: Vec<_> = split(&std::fs::read("/proc/self/environ")?)
            .iter()
            .filter_map(|pair| name_and_value(pair))
            // The primary has what a service manager passed; its numbers mean other descriptors there.
            .filter(|(name, _)| !is_for_the_primary(name))
            .collect();
        let directory = start::directory();
        let absolute = |path: &Path| directory.as_ref().map_or(path.to_owned(), |dir| dir.join(path));
        let path = match binary {
            Some(binary) => absolute(binary),
            None => {
                let search = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value);
                whereabouts(arguments.first(), search, &absolute)?
            }
        };
        Ok(Self { file, start: Arc::new(Start { path, arguments, environment, directory }) })
    }

    /// The program as it is now at its place.
    ///
    /// # Errors
    /// There is no file that can be executed; the text names it.
    pub(crate) fn anew(&self) -> Result<Self, NotExecutable> {
        let path = &self.start.path;
        let failed = |why: io::Error| NotExecutable { path: path.clone(), why };
        let file = open_path(path).map_err(failed)?;
        check(&file).map_err(failed)?;
        Ok(Self { file, start: self.start.clone() })
    }

    /// Executes it. The caller reaps the child.
    pub(crate) fn execute(&self, execution: Execution) -> io::Result<Pid> {
        let Execution { role, control, stderr, defaults, variables, steps, own_group } = execution;
        let spoken = Spoken { role, fd: control.as_raw_fd(), primary: nix::unistd::getpid().as_raw() };
        let mut command = Command::new(by_number(&self.file));
        let Start { arguments, environment, directory, .. } = &*self.start;
        if let Some((zeroth, rest)) = arguments.split_first() {
            command.arg0(zeroth).args(rest);
        }
        command.env_clear().envs(defaults).envs(environment.iter().map(|(name, value)| (name, value)));
        command.envs(variables).env(role::VARIABLE, spoken.to_string());
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        let failed = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let stdin = File::open("/dev/null")?.into();
        before_exec(
            &mut command,
            AcrossExec {
                keep: vec![control],
                stdin,
                stderr,
                own_group,
                // A fork server ends with its primary and by no signal; the others start with none blocked.
                blocked: if own_group { SigSet::empty() } else { SigSet::all() },
                // As at the start of the program; what it becomes raises it.
                soft_descriptors: descriptor_limit::original(),
                steps: steps.clone(),
                failed: failed.clone(),
                // A fork server that runs `main` serves nobody, and may never come so far as to see that its primary is gone.
                // What may have connections, or leads a group, is continued where it is stopped, and sees to that.
                parent_death: if own_group { Signal::SIGCONT } else { Signal::SIGKILL },
            },
        );
        let child = command.spawn().map_err(|err| {
            // What comes back from between fork and exec is a number, and not of which call.
            let failed =
                failed.read().ok().and_then(|nth| steps.get(usize::try_from(nth).ok()?.checked_sub(1)?));
            match failed {
                Some(step) => io::Error::new(err.kind(), format!("{step}: {err}")),
                None => io::Error::new(err.kind(), format!("cannot execute the program: {err}")),
            }
        })?;
        Ok(Pid::from_raw(child.id() as i32))
    }
}

/// A reload found nothing to execute.
#[derive(Debug, thiserror::Error)]
#[error("cannot execute `{}`: {why}", path.display())]
pub(crate) struct NotExecutable {
    path: PathBuf,
    why: io::Error,
}

/// What this process runs.
const SELF: &str = "/proc/self/exe";

fn open_path(path: &Path) -> io::Result<File> {
    // Not by `OpenOptions`: with musl it takes O_PATH for a way of access, and leaves it out.
    Ok(open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?.into())
}

/// The name of an open file in this process, whatever is at its path by now.
fn by_number(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// Whether this can be executed. What is looked at is the file that is open, not its path: a deployment may be under way.
fn check(file: &File) -> io::Result<()> {
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    faccessat(AT_FDCWD, &by_number(file), AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    if !is_program(&by_number(file)) {
        return Err(io::Error::other("it is no ELF program"));
    }
    Ok(())
}

/// Whether a file begins as programs do (elf(5)). What is none would be given to a shell by execvp(3), and a script's
/// interpreter could not open what is executed by its descriptor. One that may be executed and not read is believed.
fn is_program(path: &Path) -> bool {
    let mut magic = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) => magic == *b"\x7fELF",
        Err(err) => err.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Where this program is, as whoever started it wrote it: through symlinks, which a deployment may turn. What is
/// written there may be anything (exec(3), `exec -a`), so it counts only where it leads to this program.
fn whereabouts(
    zeroth: Option<&OsString>,
    search: Option<&OsString>,
    absolute: &dyn Fn(&Path) -> PathBuf,
) -> io::Result<PathBuf> {
    let this = std::fs::metadata(SELF)?;
    let is_this = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (this.dev(), this.ino()))
    };
    let zeroth = Path::new(zeroth.map_or(OsStr::new(""), OsString::as_os_str));
    let written: Vec<PathBuf> = if zeroth.components().count() > 1 || zeroth.is_absolute() {
        vec![absolute(zeroth)]
    } else {
        let folders = search.map(std::env::split_paths).into_iter().flatten();
        folders.map(|folder| absolute(&folder.join(zeroth))).collect()
    };
    match written.into_iter().find(is_this) {
        Some(path) => Ok(path),
        None => std::fs::read_link(SELF),
    }
}

/// The strings of a file like `/proc/self/cmdline`, where each ends with a zero byte.
fn split(bytes: &[u8]) -> Vec<OsString> {
    let mut strings: Vec<_> =
        bytes.split(|byte| *byte == 0).map(|s| OsString::from_vec(s.to_vec())).collect();
    strings.pop();
    strings
}

fn name_and_value(pair: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = pair.as_bytes();
    let at = bytes.iter().skip(1).position(|byte| *byte == b'=')? + 1;
    let (name, value) = (&bytes[..at], &bytes[at + 1..]);
    Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
}

impl AsFd for Executable {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_where_it_was_started_and_not_where_its_links_lead() {
        let folder = std::env::temp_dir().join(format!("cluster-whereabouts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let link = folder.join("current");
        let this = std::env::current_exe().unwrap();
        std::os::unix::fs::symlink(&this, &link).unwrap();
        let other = |path: &Path| folder.join(path);
        let found = |zeroth: &str, search: Option<&str>| {
            let (zeroth, search) = (OsString::from(zeroth), search.map(OsString::from));
            whereabouts(Some(&zeroth), search.as_ref(), &other).unwrap()
        };
        assert_eq!(found("./current", None), folder.join("./current"), "relative to where it was started");
        assert_eq!(found(link.to_str().unwrap(), None), link);
        let search = format!("/nowhere:{}", folder.display());
        assert_eq!(found("current", Some(&search)), link, "in PATH");
        // What leads elsewhere, or nowhere, is not believed.
        assert_eq!(found("/bin/sh", None), this);
        assert_eq!(found("my server", Some(&search)), this);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_checked_is_what_is_executed_whatever_is_at_its_path_by_then() {
        let folder = std::env::temp_dir().join(format!("cluster-anew-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (place, sound, garbage) = (folder.join("program"), folder.join("sound"), folder.join("garbage"));
        std::os::unix::fs::symlink(std::env::current_exe().unwrap(), &sound).unwrap();
        std::fs::write(&garbage, "no program").unwrap();
        std::fs::set_permissions(&garbage, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let deploy = |what: &Path| {
            let _ = std::fs::remove_file(&place);
            std::os::unix::fs::symlink(what, &place).unwrap();
        };
        deploy(&sound);
        let before = open_path(&place).unwrap();
        deploy(&garbage);
        check(&before).expect("what was opened is a program");
        let now = open_path(&place).unwrap();
        deploy(&sound);
        assert_eq!(check(&now).unwrap_err().to_string(), "it is no ELF program");
        assert_eq!(check(&open_path(&folder).unwrap()).unwrap_err().to_string(), "it is no file");
        std::fs::set_permissions(&garbage, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(check(&now).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn strings_of_proc_files_are_taken_apart() {
        assert_eq!(split(b"prog\0--flag\0\0"), ["prog", "--flag", ""]);
        assert!(split(b"").is_empty());
        assert_eq!(name_and_value(OsStr::new("A=b=c")), Some(("A".into(), "b=c".into())));
        assert_eq!(name_and_value(OsStr::new("broken")), None);
    }
}
