//! The line to the service manager: the socket that `NOTIFY_SOCKET` names (sd_notify(3)).
use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::time::ClockId;
use sd_notify::NotifyState;

use crate::event::{Event, warn};
use crate::supervise::systemd::{Service, Unsent, Watchdog};

/// The variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";
/// When to try again where the socket is full.
const AGAIN: Duration = Duration::from_millis(100);

/// What tells the service manager, if there is one.
pub(crate) struct Notifier {
    service: Service,
    line: Option<Line>,
}

struct Line {
    socket: UnixDatagram,
    to: SocketAddr,
    unsent: Unsent,
    /// When to try what is unsent.
    again: Option<Instant>,
    watchdog: Option<Watchdog>,
    /// It was said that nobody listens.
    complained: bool,
}

impl Notifier {
    /// The service manager's, if one has started this process.
    pub(crate) fn from_environment(slots: u16, generation: u64) -> Self {
        let line = env::var_os(SOCKET).and_then(|name| match Line::to(&name) {
            Ok(line) => Some(line),
            Err(err) => {
                warn(&format!("the service manager is told nothing: {SOCKET}={}: {err}", name.display()));
                None
            }
        });
        Self { service: Service::new(slots, generation), line }
    }

    /// Says what there is to say of an event.
    pub(crate) fn tell(&mut self, event: &Event) {
        let Some(line) = &mut self.line else { return };
        // By this clock, and in this protocol only, systemd compares it with its own.
        let monotonic = ClockId::CLOCK_MONOTONIC.now().map_or(Duration::ZERO, Duration::from);
        let lines = self.service.lines(event, monotonic);
        if !lines.is_empty() {
            line.unsent.push(lines.join("\n"));
            line.send(Instant::now());
        }
    }

    /// When there is something to do without an event.
    pub(crate) fn due(&self) -> Option<Instant> {
        let line = self.line.as_ref()?;
        let watchdog = line.watchdog.as_ref().map(Watchdog::due);
        line.again.into_iter().chain(watchdog).min()
    }

    /// Does what is due.
    pub(crate) fn take_turn(&mut self, now: Instant) {
        let Some(line) = &mut self.line else { return };
        if line.again.is_some_and(|at| at <= now) {
            line.send(now);
        }
        let is_due = line.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now));
        // Behind what is unsent it would say nothing new.
        if is_due && line.unsent.first().is_none() && self.service.is_alive() {
            line.unsent.push(NotifyState::Watchdog.to_string());
            line.send(now);
        }
    }
}

impl Line {
    fn to(name: &OsStr) -> std::io::Result<Self> {
        let to = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            _ => return Err(std::io::Error::new(ErrorKind::InvalidInput, "no path, and no @name")),
        };
        // Not connected: who restarts there is reached again.
        let socket = UnixDatagram::unbound()?;
        // `sd_notify::notify` waits where the other does not read, and the primary waits for nobody.
        socket.set_nonblocking(true)?;
        // As sd_notify(3) has it, meant for this very process.
        let watchdog = sd_notify::watchdog_enabled().and_then(|time| Watchdog::new(time, Instant::now()));
        Ok(Self { socket, to, unsent: Unsent::default(), again: None, watchdog, complained: false })
    }

    /// Sends what is there, as far as the socket takes it.
    fn send(&mut self, now: Instant) {
        self.again = None;
        while let Some(message) = self.unsent.first() {
            match self.socket.send_to_addr(message.as_bytes(), &self.to) {
                Ok(_) => self.unsent.sent(),
                Err(err) if err.kind() == ErrorKind::Interrupted => {}
                Err(err) if err.kind() == ErrorKind::WouldBlock => {
                    self.again = Some(now + AGAIN);
                    return;
                }
                Err(err) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        warn(&format!("cannot tell the service manager ({SOCKET}): {err}"));
                    }
                    self.unsent.sent();
                }
            }
        }
    }
}
