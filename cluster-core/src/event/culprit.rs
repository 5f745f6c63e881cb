//! Which function of a trace is the program's own.

/// The function of the program's own that a hung process was in: of the first thread that does not just wait for work.
pub(super) fn culprit(trace: &[String]) -> Option<&str> {
    let mut is_idle = false;
    for line in trace {
        let frame = line.trim_start().split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok());
        let Some((_, frame)) = frame else {
            // The next thread.
            is_idle = false;
            continue;
        };
        is_idle |= waits_for_work(frame);
        if !is_idle && is_own(frame) {
            return Some(frame.split_once(" at ").map_or(frame, |(name, _)| name));
        }
    }
    None
}

/// Whether this is where a thread of Tokio's waits for something to do.
pub(crate) fn waits_for_work(frame: &str) -> bool {
    frame.contains("tokio::") && frame.contains("park")
}

/// Whether a frame is of the program, and not of what every such program is built on. Crates are told by their names:
/// a program may carry such a one, too.
pub(crate) fn is_own(frame: &str) -> bool {
    const BUILT_ON: [&str; 15] = [
        "std::",
        "core::",
        "alloc::",
        "tokio::",
        "tokio_util::",
        "futures_",
        "mio::",
        "parking_lot",
        "hyper",
        "axum::",
        "axum_core::",
        "tower",
        "actix_",
        "cluster_",
        "_",
    ];
    // Without a name, of a library, or what the C library calls.
    if frame.starts_with("0x") || frame.contains("+0x") || frame.contains(" in ") || frame.starts_with("..") {
        return false;
    }
    let mut name = frame.trim_start_matches(['<', '&', '*']);
    if let Some((of, what)) = name.split_once(" as ")
        && !of.contains("::")
    {
        // The type is a parameter: what it is used as says more.
        name = what;
    }
    name.contains("::") && !BUILT_ON.iter().any(|crates| name.starts_with(crates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_are_built_on_is_not_their_own() {
        for own in [
            "app::spin",
            "app::spin at src/main.rs:1",
            "<app::State as app::Serve>::call",
            "app::a::{{closure}}",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "clock_nanosleep in libc.so.6",
            "app+0x12",
            "0x12",
            "main",
            "_start",
            "__rust_try",
            ".. and more",
            "std::thread::sleep",
            "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
            "<F as axum::handler::Handler<((),),S>>::call",
            "tokio::runtime::task::raw::poll at tokio-1.54.1/src/runtime/task/raw.rs:342",
            "cluster_core::birth::newborn::serve",
        ] {
            assert!(!is_own(other), "{other}");
        }
    }

    #[test]
    fn the_culprit_is_in_the_first_thread_that_does_something() {
        let trace = [
            "thread 1 (worker 0)",
            "   0: syscall in libc.so.6",
            "   1: tokio::runtime::park::Inner::park",
            "   2: app::main",
            "thread 2 (tokio-rt-worker)",
            "   0: clock_nanosleep in libc.so.6",
            "   1: std::thread::sleep at std/src/thread/mod.rs:1",
            "   2: app::wait at src/main.rs:7",
            "   3: app::serve",
        ];
        let trace = trace.map(str::to_owned);
        assert_eq!(culprit(&trace), Some("app::wait"));
        assert_eq!(culprit(&trace[..4]), None);
        assert_eq!(culprit(&["thread 2 (worker): no trace: it blocks SIGURG".to_owned()]), None);
    }
}
