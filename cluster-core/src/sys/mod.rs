//! All unsafe code and all raw system calls, behind safe signatures.
//!
//! What the kernel must provide (Linux >= 5.10):
//! - `pidfd_open`, `pidfd_send_signal`, `waitid(P_PIDFD)` (5.4): a process is named without pid reuse.
//! - `memfd_create` with seals: a worker cannot truncate the page its primary reads, nor (F_SEAL_FUTURE_WRITE, 5.1) write to
//!   the one that only the primary writes.
//! - `getrandom` (3.17).
//! - `close_range(CLOSE_RANGE_CLOEXEC)` (5.11; on 5.10 the descriptors are walked one by one).
//! - `PR_SET_CHILD_SUBREAPER`, `PR_SET_PDEATHSIG`, `/proc` with `task/*/children`.
//! - `SOCK_SEQPACKET` unix sockets with `SCM_RIGHTS` and `SCM_CREDENTIALS`.
#![allow(unsafe_code)]

pub(crate) mod accept_queue;
pub(crate) mod alarm;
pub(crate) mod ancillary;
pub(crate) mod channel;
pub(crate) mod descriptors;
pub(crate) mod directory;
pub(crate) mod environment;
pub(crate) mod fork;
pub(crate) mod identity;
pub(crate) mod interrupt;
pub(crate) mod kill_timer;
pub(crate) mod memory;
pub(crate) mod page;
pub(crate) mod parcel;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod reactor;
pub(crate) mod readiness;
pub(crate) mod signals;
pub(crate) mod start;
pub(crate) mod stream;
pub(crate) mod voice;
