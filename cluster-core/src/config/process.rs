//! Who the processes of a cluster are, and what they may use: as users write it.
use std::ffi::OsString;
use std::path::PathBuf;

use nix::libc;
use nix::sys::resource;

use crate::error::StartError;
use crate::role;

/// A user or a group, by name or number; see [`Builder::user`](crate::Builder::user) and
/// [`Builder::group`](crate::Builder::group).
///
/// A text that is no name of one, but a number, is a number: so it may come from a variable of the environment.
///
/// # Example
/// ```
/// use cluster_core::{Account, Cluster};
/// let user: Account = std::env::var("RUN_AS").map_or("nobody".into(), Account::from);
/// Cluster::builder().user(user).group(65534);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account(pub(crate) By);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum By {
    Name(String),
    Number(u32),
}

impl From<&str> for Account {
    fn from(name: &str) -> Self {
        Self(By::Name(name.to_owned()))
    }
}

impl From<String> for Account {
    fn from(name: String) -> Self {
        Self(By::Name(name))
    }
}

impl From<&String> for Account {
    fn from(name: &String) -> Self {
        name.as_str().into()
    }
}

impl From<u32> for Account {
    fn from(number: u32) -> Self {
        Self(By::Number(number))
    }
}

/// What [`Builder::limit`](crate::Builder::limit) limits; getrlimit(2) has the details.
///
/// # Example
/// ```
/// use cluster_core::{Cluster, Resource};
/// Cluster::builder()
///     .limit(Resource::AddressSpace, 4 << 30, 4 << 30)
///     .limit(Resource::Core, 0, Resource::UNLIMITED);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resource {
    /// Bytes of address space, `RLIMIT_AS`: allocations beyond it fail.
    AddressSpace,
    /// Bytes of a core dump, `RLIMIT_CORE`.
    Core,
    /// Seconds of processor time, `RLIMIT_CPU`: then the kernel ends the process.
    Cpu,
    /// Bytes of data and heap, `RLIMIT_DATA`.
    Data,
    /// Open descriptors, `RLIMIT_NOFILE`. The cluster raises the soft limit to the hard one where this is not given.
    Descriptors,
    /// Bytes of a file that is written, `RLIMIT_FSIZE`.
    FileSize,
    /// Bytes of locked memory, `RLIMIT_MEMLOCK`.
    LockedMemory,
    /// Processes and threads of the user, `RLIMIT_NPROC`: of all that run as this user, in the cluster or not.
    Processes,
    /// Bytes of the stack, `RLIMIT_STACK`; also of the thread that serves.
    Stack,
}

impl Resource {
    /// No limit.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Resource};
    /// Cluster::builder().limit(Resource::Core, Resource::UNLIMITED, Resource::UNLIMITED);
    /// ```
    pub const UNLIMITED: u64 = libc::RLIM_INFINITY;

    /// What the kernel calls it.
    pub(crate) fn of_kernel(self) -> resource::Resource {
        match self {
            Resource::AddressSpace => resource::Resource::RLIMIT_AS,
            Resource::Core => resource::Resource::RLIMIT_CORE,
            Resource::Cpu => resource::Resource::RLIMIT_CPU,
            Resource::Data => resource::Resource::RLIMIT_DATA,
            Resource::Descriptors => resource::Resource::RLIMIT_NOFILE,
            Resource::FileSize => resource::Resource::RLIMIT_FSIZE,
            Resource::LockedMemory => resource::Resource::RLIMIT_MEMLOCK,
            Resource::Processes => resource::Resource::RLIMIT_NPROC,
            Resource::Stack => resource::Resource::RLIMIT_STACK,
        }
    }
}

/// A limit: soft, then hard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) resource: Resource,
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

/// What the builder collects about processes.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProcessSettings {
    pub(crate) user: Option<Account>,
    pub(crate) group: Option<Account>,
    pub(crate) no_new_privileges: bool,
    /// In the order in which they were given; the last of a kind counts.
    pub(crate) limits: Vec<Limit>,
    pub(crate) nice: Option<i32>,
    pub(crate) pin_cpus: bool,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) environment: Vec<(OsString, OsString)>,
}

impl ProcessSettings {
    /// Refuses what no process could have.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        if let Some(Limit { resource, soft, hard }) = self.limits.iter().find(|limit| limit.soft > limit.hard)
        {
            return Err(StartError::Limit { resource: *resource, soft: *soft, hard: *hard });
        }
        self.environment.iter().try_for_each(|(name, value)| check_variable(name, value))
    }

    /// Whether the user says how many descriptors there may be.
    pub(crate) fn limits_descriptors(&self) -> bool {
        self.limits.iter().any(|limit| limit.resource == Resource::Descriptors)
    }
}

/// What the C library would refuse, or take for another variable.
fn check_variable(name: &OsString, value: &OsString) -> Result<(), StartError> {
    let bytes = name.as_encoded_bytes();
    let why = if bytes.is_empty() {
        "a variable has a name"
    } else if bytes.contains(&b'=') {
        "the name of a variable has no `=` in it"
    } else if bytes.contains(&0) || value.as_encoded_bytes().contains(&0) {
        "a variable has no zero byte in it"
    } else if name == role::VARIABLE {
        "that variable tells a process of a cluster what it is"
    } else {
        return Ok(());
    };
    Err(StartError::Variable { name: name.to_string_lossy().into_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invariant_8_variables_and_limits_that_nobody_can_have_are_refused_by_name() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0"), (role::VARIABLE, "x")] {
            let settings = ProcessSettings {
                environment: vec![("GOOD".into(), "=".into()), (name.into(), value.into())],
                ..ProcessSettings::default()
            };
            let err = settings.check().unwrap_err().to_string();
            assert!(err.starts_with(&format!("env({name:?}, ..): ")), "{err}");
        }
        let limit = Limit { resource: Resource::Core, soft: 5, hard: 4 };
        let settings = ProcessSettings { limits: vec![limit], ..ProcessSettings::default() };
        assert!(settings.check().unwrap_err().to_string().starts_with("limit(Core, 5, 4): "));
        assert!(!settings.limits_descriptors());
        assert!(ProcessSettings::default().check().is_ok());
    }
}
