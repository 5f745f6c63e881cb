//! Nothing: the programs beside this file are the examples.
//!
//! The snippets of the guides are compiled here, as documentation tests, because this package has all that they use.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../docs/start.md")]
mod start {}

#[cfg(doctest)]
#[doc = include_str!("../docs/identity.md")]
mod identity {}

#[cfg(doctest)]
#[doc = include_str!("../docs/drain.md")]
mod drain {}

#[cfg(doctest)]
#[doc = include_str!("../docs/limits.md")]
mod limits {}

#[cfg(doctest)]
#[doc = include_str!("../docs/messages.md")]
mod messages {}

#[cfg(doctest)]
#[doc = include_str!("../docs/node.md")]
mod node {}

#[cfg(doctest)]
#[doc = include_str!("../docs/listeners.md")]
mod listeners {}

#[cfg(doctest)]
#[doc = include_str!("../docs/scheduling.md")]
mod scheduling {}

#[cfg(doctest)]
#[doc = include_str!("../docs/signals.md")]
mod signals {}

#[cfg(doctest)]
#[doc = include_str!("../docs/tls.md")]
mod tls {}

#[cfg(doctest)]
#[doc = include_str!("../docs/reload.md")]
mod reload {}
