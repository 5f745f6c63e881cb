//! Message path: what processes say to each other. In this version the control protocol only.
pub(crate) mod codec;
pub(crate) mod control;
