//! What the builder says about processes: who they are, and what they may use.
use std::ffi::OsStr;
use std::path::PathBuf;

use crate::builder::Builder;
use crate::config::{Account, Limit, Resource};

impl Builder {
    /// The user that workers and the director run as, while the primary stays what it is: one that was started by root
    /// binds port 80, and those who serve are nobody. By name, looked up once at start, or by number.
    ///
    /// They have the user's group, or that of [`group`](Self::group), no other group, no capabilities, and cannot gain
    /// privileges ([`no_new_privileges`](Self::no_new_privileges)). A user that the system does not know is an error at
    /// start; a primary that may not change it (CAP_SETUID, CAP_SETGID) finds that at the first boot, which fails with
    /// the call: `setresuid(65534): Operation not permitted`.
    ///
    /// The primary and the fork server keep their privileges. With `.await` the rest of `main` runs as this user in
    /// workers, from its first line; with `run()` only what comes after the fork does, and `main` may read as root what
    /// workers shall know.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().bind("http", "0.0.0.0:80").user("nobody");
    /// ```
    pub fn user(mut self, user: impl Into<Account>) -> Self {
        self.settings.process.user = Some(user.into());
        self
    }

    /// The group that workers and the director run as, and the only one that they have (default: that of
    /// [`user`](Self::user), else nothing changes). A group that the system does not know is an error at start.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().user("nobody").group(33);
    /// ```
    pub fn group(mut self, group: impl Into<Account>) -> Self {
        self.settings.process.group = Some(group.into());
        self
    }

    /// Workers and the director, and what they start, never gain privileges by an exec: set-user-ID programs such as
    /// `sudo` or `ping` run as what they are (prctl(2), PR_SET_NO_NEW_PRIVS). On by itself with [`user`](Self::user) and
    /// [`group`](Self::group).
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().no_new_privileges();
    /// ```
    pub fn no_new_privileges(mut self) -> Self {
        self.settings.process.no_new_privileges = true;
        self
    }

    /// A limit of each worker, and of the director; units are those of [`Resource`]. Once per resource: the last one
    /// counts. A soft limit above the hard one is an error at start; a hard limit above that of the primary needs
    /// CAP_SYS_RESOURCE, and fails the boot without.
    ///
    /// # Example
    /// ```
    /// use cluster_core::{Cluster, Resource};
    /// // A worker that leaks fails to allocate at 2 GiB, long before the machine swaps.
    /// Cluster::builder().limit(Resource::AddressSpace, 2 << 30, 2 << 30);
    /// ```
    pub fn limit(mut self, resource: Resource, soft: u64, hard: u64) -> Self {
        let limits = &mut self.settings.process.limits;
        limits.retain(|known| known.resource != resource);
        limits.push(Limit { resource, soft, hard });
        self
    }

    /// The niceness of workers and the director: from -20, which needs CAP_SYS_NICE, to 19; what is beyond counts as the
    /// nearest (default: that of the primary). The primary keeps its own, so it can supervise while they are busy.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().nice(5);
    /// ```
    pub fn nice(mut self, niceness: i32) -> Self {
        self.settings.process.nice = Some(niceness.clamp(-20, 19));
        self
    }

    /// Each worker runs on one core: that in slot 0 on the first that the primary may use, and so on, from the beginning
    /// again where there are more slots than cores. The director is not pinned.
    ///
    /// It helps caches where workers are as many as cores and little else runs, and hurts where they are not: nobody
    /// takes over what waits for a busy core. A worker that is pinned counts one core of available parallelism.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().pin_cpus();
    /// ```
    pub fn pin_cpus(mut self) -> Self {
        self.settings.process.pin_cpus = true;
        self
    }

    /// The working directory of workers and the director, once their program begins (default: that of `main`). `main`
    /// itself runs where the program was started, with `.await` too. A directory that their user cannot enter fails the
    /// boot: `chdir(/srv/shop): Permission denied`.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().directory("/srv/shop");
    /// ```
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.process.directory = Some(path.into());
        self
    }

    /// A variable of the environment of workers and the director. Any number; of one name the last counts. With `.await`
    /// their `main` has it from its first line.
    ///
    /// A name that is empty or has a `=` in it, a zero byte, and `CLUSTER_ROLE` are errors at start.
    ///
    /// # Example
    /// ```
    /// cluster_core::Cluster::builder().user("nobody").env("HOME", "/nonexistent");
    /// ```
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        let variable = (name.as_ref().to_owned(), value.as_ref().to_owned());
        self.settings.process.environment.push(variable);
        self
    }
}
