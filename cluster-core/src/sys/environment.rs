//! This process's environment, where nobody else can read it meanwhile.
use crate::birth::checks::SingleThreaded;

/// Takes a variable out.
pub(crate) fn remove(_: &SingleThreaded, name: &str) {
    // SAFETY: no other thread reads or writes the environment: there is none (the proof).
    unsafe { std::env::remove_var(name) };
}
