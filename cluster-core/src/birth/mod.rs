//! How processes come to be: checks, the fork server, execution, and what a newborn does first.
pub(crate) mod arrival;
pub(crate) mod checks;
pub(crate) mod descriptor_limit;
pub(crate) mod executable;
pub(crate) mod forkserver;
pub(crate) mod hooks;
pub(crate) mod identity;
pub(crate) mod memory;
pub(crate) mod newborn;
pub(crate) mod prepare;
mod relay;
pub(crate) mod sentinel;
pub(crate) mod service_variables;
