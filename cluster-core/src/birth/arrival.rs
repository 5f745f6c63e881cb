//! What a process gets from the primary that started it.
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use crate::conn::{Bell, Ledger, Rota, listen};
use crate::error::StartError;
use crate::ipc::control::{self, PROTOCOL, ToPrimary, Welcome};
use crate::role::{Role, call};
use crate::scoreboard::Page;
use crate::secret::Secrets;
use crate::sys::page::Mapped;

/// The line to the primary, and what came over it.
pub(crate) struct Arrival {
    pub(crate) control: OwnedFd,
    pub(crate) welcome: Welcome,
    /// A worker's or a director's; a fork server has none.
    pub(crate) belongings: Option<Belongings>,
}

/// What a worker or a director owns besides its line.
pub(crate) struct Belongings {
    pub(crate) page: Mapped<Page>,
    pub(crate) stderr: StderrRelay,
    /// Its end of the message socket.
    pub(crate) messages: OwnedFd,
    /// That of all workers.
    pub(crate) bell: Bell,
    pub(crate) rota: Mapped<Rota>,
    pub(crate) secrets: Secrets,
    /// By which connections are handed out, where some are.
    pub(crate) passing: Option<OwnedFd>,
    /// What the whole cluster has open, and this worker's place in it, where that is limited.
    pub(crate) ledger: Option<(Mapped<Ledger>, usize)>,
}

/// The way of a worker's standard error: it writes `write`, its sentinel reads `read` and copies to `real`.
pub(crate) struct StderrRelay {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    pub(crate) real: OwnedFd,
}

/// How many descriptors it gets before the sockets: the page, the relay's three, the message socket, the bell,
/// the rota and the secrets.
const BELONGINGS: usize = 8;

impl Arrival {
    /// Greets the primary as `role` (a fork server does that later) and takes what it gives. The sockets go to the registry.
    pub(crate) fn receive(control: OwnedFd, role: Role) -> Result<Self, StartError> {
        let (welcome, mut fds) = match role {
            // It greets when it has prepared its generation, and is asked for nothing before.
            Role::ForkServer => control::receive_welcome(&control),
            Role::Primary | Role::Director | Role::Worker => {
                control::greet(&control, &ToPrimary::Hello { protocol: PROTOCOL })
            }
        }
        .map_err(StartError::Attach)?;
        let passes = role != Role::ForkServer && welcome.passes;
        let place = welcome.place.filter(|_| role != Role::ForkServer);
        let belongings = match role {
            Role::ForkServer => 0,
            Role::Primary | Role::Director | Role::Worker => {
                BELONGINGS + usize::from(passes) + usize::from(place.is_some())
            }
        };
        if fds.len() != belongings + welcome.sockets.len() {
            let err = format!("{} descriptors came where {belongings} and the sockets were due", fds.len());
            return Err(StartError::Attach(std::io::Error::new(std::io::ErrorKind::InvalidData, err)));
        }
        listen::receive(welcome.sockets.iter().cloned().zip(fds.split_off(belongings)));
        let system = StartError::system::<nix::Error>;
        let ledger = match place.and_then(|place| Some((fds.pop()?, place as usize))) {
            Some((fd, place)) => {
                Some((Mapped::map(fd.as_fd()).map_err(system("cannot map the ledger"))?, place))
            }
            None => None,
        };
        let passing = if passes { fds.pop() } else { None };
        let belongings = match <[OwnedFd; BELONGINGS]>::try_from(fds) {
            Ok([page, read, write, real, messages, bell, rota, secrets]) => {
                let page = Mapped::map(page.as_fd()).map_err(system("cannot map the scoreboard page"))?;
                let rota = Mapped::map(rota.as_fd()).map_err(system("cannot map the rota"))?;
                let secrets =
                    Mapped::map_to_read(secrets.as_fd()).map_err(system("cannot map the secrets"))?;
                Some(Belongings {
                    page,
                    stderr: StderrRelay { read, write, real },
                    messages,
                    bell: bell.into(),
                    rota,
                    secrets: Secrets::new(secrets),
                    passing,
                    ledger,
                })
            }
            Err(_) => None,
        };
        Ok(Self { control, welcome, belongings })
    }
}

static ARRIVAL: Mutex<Option<Arrival>> = Mutex::new(None);

/// In a process that a primary executed: greets it, once, so that its sockets are in the registry.
pub(crate) fn take_sockets() -> Result<(), StartError> {
    let Some(call) = call()? else { return Ok(()) };
    let Some(socket) = call.socket.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return Ok(());
    };
    let arrival = Arrival::receive(socket, call.role)?;
    *ARRIVAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(arrival);
    Ok(())
}

/// In a process that a primary executed: what it was given, once.
pub(crate) fn take() -> Result<Option<Arrival>, StartError> {
    take_sockets()?;
    Ok(ARRIVAL.lock().unwrap_or_else(PoisonError::into_inner).take())
}
