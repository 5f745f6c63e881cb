//! Control path: who lives. `pool` decides, without I/O, clock or Tokio; `driver` acts.
pub(crate) mod announce;
mod breeder;
mod condition;
pub(crate) mod driver;
mod input;
mod member;
mod note;
mod notifier;
mod nursery;
mod orphans;
mod peer;
mod pool;
mod pulse;
mod relay;
mod restart;
mod signals;
mod span;
mod systemd;
