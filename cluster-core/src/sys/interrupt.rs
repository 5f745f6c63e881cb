//! A thread of this process, interrupted and held: what it had in its registers.
//!
//! The handler is there only from the moment that a process is about to be killed: until then the signal is the
//! program's, to use as it likes.
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;

/// Ignored where nothing handles it, so that one too many does no harm (signal(7)).
pub(crate) const SIGNAL: libc::c_int = libc::SIGURG;

/// How many registers there are, by their numbers in DWARF.
pub(crate) const COUNT: usize = 33;
/// How often it is looked whether a thread has stopped.
const LOOK_EVERY: Duration = Duration::from_micros(100);
/// A thread that nobody lets go goes on after so many looks: half a second, and mostly more.
const MOST_LOOKS: u32 = 5_000;

/// Nobody is asked or held. Else the number of the thread that is asked, or its negative while it is held.
const FREE: i32 = 0;
/// The one that was asked is about to be held: its registers are being written.
const WRITING: i32 = i32::MIN;

/// Whom all this is about, in one word: a thread that comes too late finds another's number and changes nothing.
static STATE: AtomicI32 = AtomicI32::new(FREE);
static VALUES: [AtomicU64; COUNT] = [const { AtomicU64::new(0) }; COUNT];
static AT: AtomicU64 = AtomicU64::new(0);

/// What a thread had in its registers when it was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Registers {
    /// By their numbers in DWARF.
    pub(crate) values: [u64; COUNT],
    /// Where it was.
    pub(crate) at: u64,
}

impl Registers {
    /// The number of the stack pointer.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const STACK: usize = 31;
    #[cfg(not(target_arch = "aarch64"))]
    pub(crate) const STACK: usize = 7;
    /// The number of the frame pointer, for code that keeps one.
    #[cfg(target_arch = "aarch64")]
    pub(crate) const FRAME: usize = 29;
    #[cfg(not(target_arch = "aarch64"))]
    pub(crate) const FRAME: usize = 6;
}

/// A thread that is held until this is dropped.
#[must_use]
pub(crate) struct Held {
    pub(crate) registers: Registers,
}

impl Drop for Held {
    fn drop(&mut self) {
        STATE.store(FREE, Ordering::Release);
    }
}

/// Has the signal hold whom `hold` names. Takes no lock and allocates nothing.
pub(crate) fn prepare() -> nix::Result<()> {
    // SAFETY: plain data, for which all zero is valid: an empty mask among it.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_signal as *const () as usize;
    // On the alternative stack where there is one: the thread may be at the end of its own. SA_RESTART: what it waits
    // for, it waits for afterwards.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler makes system calls and stores to atomics only: both are async-signal-safe
    // (signal-safety(7)).
    Errno::result(unsafe { libc::sigaction(SIGNAL, &raw const action, ptr::null_mut()) }).map(drop)
}

/// A thread of this process has the processor from now on only when nobody else wants it.
pub(crate) fn put_behind(thread: i32) {
    /// The least (setpriority(2), whose unit is a thread on Linux).
    const LEAST: libc::c_int = 19;
    // SAFETY: a system call on integers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.unsigned_abs(), LEAST) };
}

/// Interrupts a thread of this process, and waits until it is held. One thread asks, for one at a time.
///
/// # Errors
/// ESRCH: it is gone. ETIMEDOUT: it has not taken the signal.
pub(crate) fn hold(thread: i32, within: Duration) -> nix::Result<Held> {
    let until = Instant::now() + within;
    STATE.store(thread, Ordering::Release);
    // SAFETY: a system call on integers: the process is this one.
    let sent = Errno::result(unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGNAL) });
    let mut given_up = sent.is_err();
    loop {
        // One that comes too late must not be held. One that comes just now is.
        if given_up && STATE.compare_exchange(thread, FREE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return Err(sent.err().unwrap_or(Errno::ETIMEDOUT));
        }
        if STATE.load(Ordering::Acquire) == -thread {
            let values = std::array::from_fn(|at| VALUES[at].load(Ordering::Relaxed));
            return Ok(Held { registers: Registers { values, at: AT.load(Ordering::Relaxed) } });
        }
        pause();
        given_up |= Instant::now() >= until;
    }
}

/// What the held thread runs.
extern "C" fn on_signal(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: an own thread-local integer, put back below: the interrupted code may be about to read it.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: a system call without arguments.
    let own = unsafe { libc::syscall(libc::SYS_gettid) } as i32;
    if STATE.compare_exchange(own, WRITING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        // SAFETY: with SA_SIGINFO the third argument is a ucontext_t of the kernel's, valid until the handler returns
        // (sigaction(2)).
        store_registers(unsafe { &*context.cast::<libc::ucontext_t>() });
        STATE.store(-own, Ordering::Release);
        let mut looks = 0;
        while STATE.load(Ordering::Acquire) == -own && looks < MOST_LOOKS {
            pause();
            looks += 1;
        }
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

fn pause() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
    // SAFETY: reads `time`, and is async-signal-safe (signal-safety(7)).
    unsafe { libc::nanosleep(&raw const time, ptr::null_mut()) };
}

#[cfg(target_arch = "x86_64")]
fn store_registers(context: &libc::ucontext_t) {
    use libc::{
        REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15, REG_RAX, REG_RBP, REG_RBX,
        REG_RCX, REG_RDI, REG_RDX, REG_RIP, REG_RSI, REG_RSP,
    };
    // In the order of their numbers in DWARF (System V ABI, AMD64 supplement, figure 3.36).
    let numbered = [
        REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI, REG_RBP, REG_RSP, REG_R8, REG_R9, REG_R10,
        REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
    ];
    let value = |register: libc::c_int| context.uc_mcontext.gregs[register as usize] as u64;
    for (to, register) in VALUES.iter().zip(numbered) {
        to.store(value(register), Ordering::Relaxed);
    }
    AT.store(value(REG_RIP), Ordering::Relaxed);
}

#[cfg(target_arch = "aarch64")]
fn store_registers(context: &libc::ucontext_t) {
    for (to, value) in VALUES.iter().zip(context.uc_mcontext.regs) {
        to.store(value as u64, Ordering::Relaxed);
    }
    VALUES[Registers::STACK].store(context.uc_mcontext.sp as u64, Ordering::Relaxed);
    AT.store(context.uc_mcontext.pc as u64, Ordering::Relaxed);
}

/// On other processors nothing is known of the way back.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn store_registers(_: &libc::ucontext_t) {}
