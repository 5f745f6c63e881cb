//! Where the threads of this process stand, told by its sentinel when the process hangs and is about to be killed.
//!
//! First each thread is interrupted and held, and its frames are found by addresses alone: that allocates nothing and
//! takes no lock, because a thread that hangs may hold any. Then it is let go, and names are looked up, which does
//! allocate: the kernel ends this process if that takes too long.
mod maps;
mod module;
mod names;
mod telling;
mod threads;
mod unwind;

use std::fmt;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use crate::dump::module::Modules;
use crate::dump::names::Names;
use crate::dump::telling::Telling;
use crate::dump::threads::{Deaf, Thread};
use crate::dump::unwind::Frame;
use crate::sys::interrupt::{self, Registers};
use crate::sys::kill_timer;
use crate::trace::{Text, Trace};

/// The process is killed after so long at the latest. Names took 20 ms of a processor where that was measured; without
/// optimisation they take many times as long, and where something loops a processor is hard to get.
const MOST: Duration = Duration::from_secs(4);
/// A thread that has not taken the signal after this is not waited for.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Nor are all together for longer.
const ALL_WITHIN: Duration = Duration::from_secs(2);
/// More functions of one thread are not shown.
const MOST_FRAMES: usize = 64;

/// What is found of one thread.
struct Stood {
    thread: Thread,
    frames: [Option<Frame>; MOST_FRAMES],
    /// There are more frames than are shown.
    is_deeper: bool,
}

/// A thread of which nothing is found.
struct Silent {
    thread: Thread,
    why: Why,
}

enum Why {
    Deaf(Deaf),
    Failed(Errno),
    NoStack,
}

/// Writes where the threads of this process stand, first the one with the number `first`. Call it in a process that
/// is to be killed then: it may be killed before this returns.
pub(crate) fn dump(trace: &Trace, first: i32) {
    let ends_by_itself = kill_timer::kill_self_after(MOST);
    if let Err(err) = interrupt::prepare() {
        trace.addresses.add(format_args!("no trace: threads cannot be interrupted (sigaction: {err})"));
        trace.finish();
        return;
    }
    let until = Instant::now() + ALL_WITHIN;
    let mut modules = Modules::new();
    let found = threads::others(first).map(|thread| Some(look_at(thread?, until, &mut modules)));
    if found.iter().all(Option::is_none) {
        trace.addresses.add(format_args!("no trace: no other thread is found in /proc/self/task"));
    }
    for found in found.iter().flatten() {
        write_addresses(found, &trace.addresses, &modules);
    }
    if let Err(err) = ends_by_itself {
        // Whoever kills this process otherwise does not wait for what may never end.
        trace.addresses.add(format_args!("(no names: that is not bounded in time (timer_create: {err}))"));
        trace.finish();
        return;
    }
    let mut names = Names::default();
    for found in found.iter().flatten() {
        write_names(found, &trace.names, &modules, &mut names);
    }
    trace.finish();
}

/// Holds a thread for as long as it takes to find its frames.
fn look_at(thread: Thread, until: Instant, modules: &mut Modules) -> Result<Stood, Silent> {
    let left = until.saturating_duration_since(Instant::now());
    let silent = |why| Silent { thread, why };
    let held = interrupt::hold(thread.id, left.min(ANSWER_WITHIN)).map_err(|err| {
        silent(if err == Errno::ETIMEDOUT { Why::Deaf(thread.why_deaf()) } else { Why::Failed(err) })
    })?;
    // It goes on soon, because it may hold what is needed for the names. One that loops must not keep us waiting.
    interrupt::put_behind(thread.id);
    let registers = held.registers;
    let stack = maps::region_of(registers.values[Registers::STACK]).ok_or_else(|| silent(Why::NoStack))?;
    let mut stood = Stood { thread, frames: [None; MOST_FRAMES], is_deeper: false };
    let mut count = 0;
    unwind::walk(registers, stack, modules, |frame| {
        match stood.frames.get_mut(count) {
            Some(to) => *to = Some(frame),
            None => stood.is_deeper = true,
        }
        count += 1;
        !stood.is_deeper
    });
    Ok(stood)
}

/// Allocates nothing and takes no lock.
fn write_addresses<const ROOM: usize>(found: &Result<Stood, Silent>, to: &Text<ROOM>, modules: &Modules) {
    let stood = match found {
        Ok(stood) => stood,
        Err(silent) => return to.add(format_args!("{silent}")),
    };
    to.add(format_args!("{}", stood.thread));
    for (number, frame) in stood.frames.iter().flatten().enumerate() {
        to.add(format_args!("{number:4}: {}", Place { frame: *frame, modules }));
    }
    if stood.is_deeper {
        to.add(format_args!("{MOST_FRAMES:4}: .. and more"));
    }
}

fn write_names<const ROOM: usize>(
    found: &Result<Stood, Silent>,
    to: &Text<ROOM>,
    modules: &Modules,
    names: &mut Names,
) {
    let stood = match found {
        Ok(stood) => stood,
        Err(silent) => return to.add(format_args!("{silent}")),
    };
    to.add(format_args!("{}", stood.thread));
    let mut telling = Telling::new(to);
    for frame in stood.frames.iter().flatten() {
        names.of(*frame, modules).into_iter().for_each(|name| telling.tell(name));
    }
    telling.finish(stood.is_deeper);
}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: no trace: ", self.thread)?;
        match self.why {
            Why::Deaf(deaf) => deaf.fmt(f),
            Why::Failed(err) => write!(f, "it cannot be interrupted (tgkill: {err})"),
            Why::NoStack => f.write_str("its stack is not to be found in /proc/self/maps"),
        }
    }
}

/// Where a frame is, without a name: `libc.so.6+0x1234`.
struct Place<'m> {
    frame: Frame,
    modules: &'m Modules,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.frame.at;
        match self.frame.module.and_then(|number| self.modules.get(number)) {
            Some(module) => {
                let name = std::str::from_utf8(module.name()).unwrap_or("?");
                write!(f, "{name}+{:#x}", at.wrapping_sub(module.bias))
            }
            None => write!(f, "{at:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hint;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// One asks at a time.
    static ALONE: Mutex<()> = Mutex::new(());

    #[inline(never)]
    fn spin_until(end: &AtomicBool) {
        while !end.load(Ordering::Relaxed) {
            hint::spin_loop();
        }
    }

    #[inline(never)]
    fn sleep_until(end: &AtomicBool) {
        while !end.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The names of the functions that a thread is in, which runs `what`.
    fn names_in(what: fn(&AtomicBool)) -> Vec<String> {
        static END: AtomicBool = AtomicBool::new(false);
        let _alone = ALONE.lock().unwrap();
        END.store(false, Ordering::Relaxed);
        let (tell, told) = mpsc::channel();
        let stuck = thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            what(&END);
        });
        let id = told.recv().unwrap();
        interrupt::prepare().unwrap();
        let mut modules = Modules::new();
        let thread = threads::others(id)[0].unwrap();
        let mut names = Names::default();
        let mut found = Vec::new();
        // It may not have come so far yet.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !found.iter().any(|name: &String| name.contains("_until")) && Instant::now() < deadline {
            let until = Instant::now() + ALL_WITHIN;
            found.clear();
            if let Ok(stood) = look_at(thread, until, &mut modules) {
                stood.frames.iter().flatten().for_each(|frame| found.extend(names.of(*frame, &modules)));
            }
        }
        END.store(true, Ordering::Relaxed);
        stuck.join().unwrap();
        found
    }

    fn position(names: &[String], part: &str) -> usize {
        names.iter().position(|name| name.contains(part)).unwrap_or_else(|| panic!("{part}: {names:#?}"))
    }

    #[test]
    fn a_thread_that_loops_is_followed_to_its_beginning() {
        let names = names_in(spin_until);
        assert!(position(&names, "dump::tests::spin_until") < position(&names, "dump::tests::names_in"));
        // What the C library's thread begins with.
        assert!(position(&names, "dump::tests::names_in") < names.len() - 1, "{names:#?}");
    }

    #[test]
    fn a_thread_that_sleeps_in_the_kernel_is_followed_too_and_sleeps_on() {
        let names = names_in(sleep_until);
        assert!(position(&names, "nanosleep") < position(&names, "dump::tests::sleep_until"), "{names:#?}");
    }

    #[test]
    fn one_that_blocks_the_signal_is_given_up_in_time() {
        let _alone = ALONE.lock().unwrap();
        interrupt::prepare().unwrap();
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let deaf = thread::spawn(move || {
            let all = nix::sys::signal::SigSet::all();
            all.thread_block().unwrap();
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            let _ = ended.recv();
            let begun = Instant::now();
            // Now it comes, and nobody waits for it.
            all.thread_unblock().unwrap();
            begun.elapsed()
        });
        let thread = threads::others(told.recv().unwrap())[0].unwrap();
        let silent = look_at(thread, Instant::now() + ALL_WITHIN, &mut Modules::new()).err().unwrap();
        assert!(silent.to_string().contains("no trace: it blocks SIGURG"), "{silent}");
        drop(end);
        let took = deaf.join().unwrap();
        assert!(took < Duration::from_millis(400), "it is not held: {took:?}");
        let silent = look_at(thread, Instant::now() + ALL_WITHIN, &mut Modules::new()).err().unwrap();
        assert!(silent.to_string().contains("ESRCH"), "{silent}");
    }
}
