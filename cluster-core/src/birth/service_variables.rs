//! What a service manager says to the process that it has started, and to nobody else: its variables reach neither
//! workers nor fork servers, nor what those start.
use std::ffi::OsStr;

use crate::birth::checks::SingleThreaded;
use crate::conn::INHERITANCE;
use crate::sys::environment;

/// Besides `INHERITANCE`: whom to tell, and how often (sd_notify(3), sd_watchdog_enabled(3)). A child that heard them
/// would speak for the primary.
const NOTIFICATION: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

fn all() -> impl Iterator<Item = &'static str> {
    INHERITANCE.into_iter().chain(NOTIFICATION)
}

/// Whether a variable is meant for the primary alone.
pub(crate) fn is_for_the_primary(name: &OsStr) -> bool {
    all().any(|variable| name == variable)
}

/// In what was just forked from the primary: takes them out of the environment.
pub(crate) fn forget(proof: &SingleThreaded) {
    all().for_each(|variable| environment::remove(proof, variable));
}
