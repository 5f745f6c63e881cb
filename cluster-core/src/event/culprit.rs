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
            return Some(frame);
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
    let is_built_on = BUILT_ON.iter().any(|crates| name.starts_with(crates));
    match frame.rsplit_once(" at ") {
        // An inlined function may have a name without its crate: then its file tells.
        Some((_, place)) => !is_built_on && !is_unpacked(place),
        None => !is_built_on && name.contains("::"),
    }
}

/// Whether a file is of the standard library (`core/src/..`) or of a package (`axum-0.8.9/src/..`).
fn is_unpacked(place: &str) -> bool {
    let folder = place.split('/').next().unwrap_or_default();
    let version = folder.rsplit_once('-').map_or("", |(_, version)| version);
    version.starts_with(|c: char| c.is_ascii_digit()) || ["core", "alloc", "std"].contains(&folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_are_built_on_is_not_their_own() {
        for own in [
            "{async_fn#0} at /home/me/app/src/main.rs:4",
            "add_up at src/main.rs:9",
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
            "poll<alloc::boxed::Box<()>> at core/src/future/future.rs:133",
            "{async_block#0}<fn() -> app::total> at axum-0.8.9/src/handler/mod.rs:217",
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
        assert_eq!(culprit(&trace), Some("app::wait at src/main.rs:7"));
        assert_eq!(culprit(&trace[..4]), None);
        assert_eq!(culprit(&["thread 2 (worker): no trace: it blocks SIGURG".to_owned()]), None);
    }
}
