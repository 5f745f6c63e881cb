//! What processor time processes have used, to the nanosecond.
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

/// Of all their threads together, in the kernel and outside it.
pub(crate) fn used_by(pids: &[u32]) -> nix::Result<Duration> {
    let of = |pid: &u32| {
        let clock = clock_getcpuclockid(Pid::from_raw(*pid as i32))?;
        clock.now().map(Duration::from)
    };
    pids.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use std::process::{self, Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_works_uses_time_and_who_waits_uses_none() {
        let mut waiting = Command::new("cat").stdin(Stdio::piped()).spawn().expect("cat");
        let (working, start) = (process::id(), Instant::now());
        let used = || (used_by(&[working]).expect("us"), used_by(&[waiting.id()]).expect("cat"));
        let (ours, theirs) = used();
        while used().0 - ours < Duration::from_millis(20) {
            assert!(start.elapsed() < Duration::from_secs(30), "20 ms of work take half a minute");
        }
        assert!(used().1 - theirs < Duration::from_millis(20));
        let together = used_by(&[working, waiting.id()]).expect("both");
        assert!(together >= used_by(&[waiting.id()]).expect("cat"));
        drop(waiting.stdin.take());
        waiting.wait().expect("cat ends with its input");
        assert!(used_by(&[waiting.id()]).is_err(), "who has gone uses no time that could be read");
    }
}
