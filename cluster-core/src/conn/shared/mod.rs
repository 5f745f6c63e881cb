//! One queue for all: workers wait for the same sockets, idle ones take turns, and the primary watches that nobody is
//! forgotten.
//!
//! In a worker `queue.rs` is what an acceptor sees. It waits at the `doorbell.rs` (who is in the wait set, `membership.rs`
//! decides), or while connections come fast in the runtime itself (`direct.rs`). `rota.rs` and `turns.rs` make bursts
//! even. In the primary there is `watch.rs`, and the `bell.rs` that all can ring.
mod bell;
mod direct;
pub(crate) mod doorbell;
mod membership;
pub(crate) mod queue;
mod rota;
pub(crate) mod turns;
mod watch;

pub(crate) use bell::Bell;
pub(crate) use rota::Rota;
pub(crate) use watch::Watch;
