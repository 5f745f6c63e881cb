//! Message path: what processes say to each other.
//!
//! From the inside out: `message` (what can be said), `shape`, `guard`, `text`, `frugal`, `codec` (how it becomes bytes
//! and back), `frame` (how it travels), `prepare`, `sending`, `request` (from a value to a frame and back),
//! `outbox`, `inbox`, `row`, `letter`, `queue`, `batches`, `stream`, `ticket`, `endpoint` (a process's side), `router`,
//! `exchange` (the primary's side), `picture`, `counters` (how the director learns how things stand), `survey` (how a worker
//! does that asks).
pub(crate) mod backlog;
pub(crate) mod batches;
pub(crate) mod codec;
pub(crate) mod control;
pub(crate) mod counters;
pub(crate) mod early;
pub(crate) mod endpoint;
pub(crate) mod error;
pub(crate) mod exchange;
pub(crate) mod fnv;
pub(crate) mod frame;
pub(crate) mod frugal;
pub(crate) mod guard;
pub(crate) mod handler;
pub(crate) mod inbox;
pub(crate) mod letter;
pub(crate) mod listeners;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod notice;
pub(crate) mod outbox;
pub(crate) mod picture;
pub(crate) mod prepare;
pub(crate) mod probe;
pub(crate) mod queue;
pub(crate) mod request;
pub(crate) mod roster;
pub(crate) mod router;
pub(crate) mod row;
pub(crate) mod sending;
pub(crate) mod shape;
pub(crate) mod stream;
pub(crate) mod survey;
pub(crate) mod tally;
pub(crate) mod text;
pub(crate) mod ticket;
pub(crate) mod waiters;
pub(crate) mod window;
