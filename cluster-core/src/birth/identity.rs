//! Who a worker or a director is, and what it may use: looked up once, before the first fork; taken on by each newborn.
use std::ffi::OsString;
use std::{fmt, io};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::resource::setrlimit;
use nix::unistd::{Gid, Group, Pid, Uid, User, setgroups, setresgid, setresuid};

use crate::birth::checks;
use crate::config::{Account, By, Limit, ProcessSettings};
use crate::error::StartError;
use crate::id::Slot;
use crate::sys::identity;

/// What all workers, and the director, take on. The default is nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    user: Option<Uid>,
    group: Option<Gid>,
    no_new_privileges: bool,
    limits: Vec<Limit>,
    nice: Option<i32>,
    /// Those that workers are pinned to, in turn; none: they are not.
    cores: Vec<usize>,
    environment: Vec<(OsString, OsString)>,
}

impl Identity {
    /// Looks up names: in a process with all its privileges, and never in a forked child, where the C library may
    /// not (getpwnam(3) reads files, asks services, and takes locks).
    pub(crate) fn resolve(settings: &ProcessSettings) -> Result<Self, StartError> {
        settings.check()?;
        let user = settings.user.as_ref().map(look_up_user).transpose()?;
        let group = match (&settings.group, &user) {
            (Some(group), _) => Some(look_up_group(group)?),
            (None, Some(Found { uid, group: None })) => {
                return Err(StartError::NoGroup { user: uid.as_raw() });
            }
            (None, Some(Found { group, .. })) => *group,
            (None, None) => None,
        };
        let cores = if settings.pin_cpus { allowed_cores()? } else { Vec::new() };
        Ok(Self {
            user: user.map(|found| found.uid),
            group,
            no_new_privileges: settings.no_new_privileges,
            limits: settings.limits.clone(),
            nice: settings.nice,
            cores,
            environment: settings.environment.clone(),
        })
    }

    /// What a process has in its environment besides what its program was started with.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Whose the processes are, where that is somebody else.
    pub(crate) fn owner(&self) -> Option<Uid> {
        self.user
    }

    /// What a process does to become it, in this order. A director has no slot, and is pinned nowhere.
    pub(crate) fn steps(&self, slot: Option<Slot>) -> Vec<Step> {
        let mut steps: Vec<_> = self.nice.map(Step::Nice).into_iter().collect();
        steps.extend(self.limits.iter().copied().map(Step::Limit));
        if let (Some(slot), false) = (slot, self.cores.is_empty()) {
            steps.push(Step::Pin(self.cores[usize::from(slot.0) % self.cores.len()]));
        }
        // Groups BEFORE the user: who is nobody may change none.
        if let Some(group) = self.group {
            steps.extend([Step::Groups(group), Step::Group(group)]);
        }
        if let Some(user) = self.user {
            steps.push(Step::User(user));
            if !user.is_root() {
                steps.push(Step::NoCapabilities);
            }
        }
        if self.no_new_privileges || self.group.is_some() || self.user.is_some() {
            steps.push(Step::NoNewPrivileges);
        }
        steps
    }

    /// Becomes it: in a newborn that was forked, on its only thread. Some of it is a thread's own.
    pub(crate) fn take_on(&self, slot: Option<Slot>) -> Result<(), StartError> {
        let steps = self.steps(slot);
        if steps.is_empty() {
            return Ok(());
        }
        let threads = checks::other_threads().map_err(StartError::Proc)?;
        if !threads.is_empty() {
            return Err(StartError::ThreadsAfterFork(threads.join(", ")));
        }
        steps.into_iter().try_for_each(|step| {
            step.take().map_err(|err| StartError::Step { call: step.to_string(), source: err.into() })
        })
    }
}

/// One system call on the way to another identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Nice(i32),
    Limit(Limit),
    /// To this core.
    Pin(usize),
    /// The supplementary groups: this one alone.
    Groups(Gid),
    Group(Gid),
    User(Uid),
    /// The kernel drops them when root becomes somebody else; who had some without being root would keep them.
    NoCapabilities,
    NoNewPrivileges,
}

impl Step {
    /// Makes the call. Async-signal-safe: it may run between fork and exec.
    pub(crate) fn take(&self) -> nix::Result<()> {
        match *self {
            Step::Nice(niceness) => identity::set_niceness(niceness),
            Step::Limit(Limit { resource, soft, hard }) => setrlimit(resource.of_kernel(), soft, hard),
            Step::Pin(core) => {
                let mut cores = CpuSet::new();
                cores.set(core)?;
                sched_setaffinity(Pid::from_raw(0), &cores)
            }
            Step::Groups(group) => setgroups(&[group]),
            Step::Group(group) => setresgid(group, group, group),
            Step::User(user) => setresuid(user, user, user),
            Step::NoCapabilities => identity::drop_capabilities(),
            Step::NoNewPrivileges => nix::sys::prctl::set_no_new_privs(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Nice(niceness) => write!(f, "setpriority({niceness})"),
            Step::Limit(Limit { resource, soft, hard }) => {
                write!(f, "setrlimit({:?}, {soft}, {hard})", resource.of_kernel())
            }
            Step::Pin(core) => write!(f, "sched_setaffinity({core})"),
            Step::Groups(group) => write!(f, "setgroups([{group}])"),
            Step::Group(group) => write!(f, "setresgid({group})"),
            Step::User(user) => write!(f, "setresuid({user})"),
            Step::NoCapabilities => f.write_str("capset(none)"),
            Step::NoNewPrivileges => f.write_str("prctl(PR_SET_NO_NEW_PRIVS)"),
        }
    }
}

/// A user, with the group of the user database.
struct Found {
    uid: Uid,
    group: Option<Gid>,
}

fn look_up_user(user: &Account) -> Result<Found, StartError> {
    let found = |user: Option<User>| user.map(|user| Found { uid: user.uid, group: Some(user.gid) });
    let by_number = |number: u32| {
        let uid = Uid::from_raw(number);
        // A number needs no entry, where there is a group besides.
        let known = found(User::from_uid(uid).map_err(failed("cannot look up a user"))?);
        Ok(known.unwrap_or(Found { uid, group: None }))
    };
    match &user.0 {
        By::Number(number) => by_number(*number),
        By::Name(name) => match found(User::from_name(name).map_err(failed("cannot look up a user"))?) {
            Some(found) => Ok(found),
            None => by_number(name.parse().map_err(|_| StartError::UnknownUser(name.clone()))?),
        },
    }
}

fn look_up_group(group: &Account) -> Result<Gid, StartError> {
    match &group.0 {
        By::Number(number) => Ok(Gid::from_raw(*number)),
        By::Name(name) => match Group::from_name(name).map_err(failed("cannot look up a group"))? {
            Some(group) => Ok(group.gid),
            None => name.parse().map(Gid::from_raw).map_err(|_| StartError::UnknownGroup(name.clone())),
        },
    }
}

fn failed(what: &'static str) -> impl FnOnce(Errno) -> StartError {
    move |err| StartError::system(what)(io::Error::from(err))
}

/// The cores that this process may run on: a container's may be some of the machine's.
fn allowed_cores() -> Result<Vec<usize>, StartError> {
    let allowed = sched_getaffinity(Pid::from_raw(0)).map_err(failed("sched_getaffinity"))?;
    Ok((0..CpuSet::count()).filter(|core| allowed.is_set(*core) == Ok(true)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Resource;

    fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Identity, StartError> {
        Identity::resolve(&ProcessSettings {
            user: user.map(Account::from),
            group: group.map(Account::from),
            ..ProcessSettings::default()
        })
    }

    fn said(identity: &Identity, slot: Option<u16>) -> Vec<String> {
        identity.steps(slot.map(Slot)).iter().map(Step::to_string).collect()
    }

    #[test]
    fn invariant_8_who_nobody_knows_is_told_by_name() {
        let err = resolve(Some("no-such-user"), None).unwrap_err();
        assert_eq!(
            err.to_string(),
            "user(\"no-such-user\"): the system knows no such user (getent passwd no-such-user)"
        );
        let err = resolve(None, Some("no-such-group")).unwrap_err();
        assert!(err.to_string().starts_with("group(\"no-such-group\"): "), "{err}");
        let err = resolve(Some("4242424"), None).unwrap_err();
        assert!(err.to_string().contains("user 4242424") && err.to_string().contains("group(..)"), "{err}");
    }

    #[test]
    fn a_user_brings_its_group_and_all_else_is_dropped() {
        let identity = resolve(Some("root"), None).unwrap();
        assert_eq!(
            said(&identity, None),
            ["setgroups([0])", "setresgid(0)", "setresuid(0)", "prctl(PR_SET_NO_NEW_PRIVS)"]
        );
        let identity = resolve(Some("4242424"), Some("4343")).unwrap();
        let expected = [
            "setgroups([4343])",
            "setresgid(4343)",
            "setresuid(4242424)",
            "capset(none)",
            "prctl(PR_SET_NO_NEW_PRIVS)",
        ];
        assert_eq!(said(&identity, Some(3)), expected);
        assert!(said(&resolve(None, None).unwrap(), Some(0)).is_empty());
    }

    #[test]
    fn what_needs_a_privilege_comes_before_it_is_given_up() {
        let identity = Identity {
            nice: Some(-5),
            limits: vec![Limit { resource: Resource::Descriptors, soft: 4096, hard: Resource::UNLIMITED }],
            cores: vec![2, 7, 9],
            user: Some(Uid::from_raw(9)),
            ..Identity::default()
        };
        assert_eq!(
            said(&identity, Some(4)),
            [
                "setpriority(-5)",
                "setrlimit(RLIMIT_NOFILE, 4096, 18446744073709551615)",
                "sched_setaffinity(7)",
                "setresuid(9)",
                "capset(none)",
                "prctl(PR_SET_NO_NEW_PRIVS)"
            ]
        );
        assert!(
            !said(&identity, None).iter().any(|step| step.starts_with("sched")),
            "a director has no slot"
        );
    }
}
