//! What a process may not write.
use crate::ipc::codec;
use crate::ipc::frame::{Address, Frame, FrameError, Kind};
use crate::ipc::notice::{Credit, Refusal};

/// Why a process is not read any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a frame in the name of {0}")]
    Forged(Address),
    #[error("a {kind:?} frame to {to}")]
    Misdirected { kind: Kind, to: Address },
    #[error("the body of a {kind:?} frame: {why}")]
    Body { kind: Kind, why: String },
    #[error("{0}")]
    Descriptors(&'static str),
}

/// The system's own frames from one process to another: garbage in them is their sender's fault, and must not
/// become the receiver's, who would take it for the primary's.
pub(super) fn check(frame: &Frame<'_>) -> Result<(), Fault> {
    match frame.head.kind {
        Kind::Credit => body::<Credit>(frame).map(drop),
        Kind::Refusal => body::<Refusal>(frame).map(drop),
        Kind::Message
        | Kind::Ask
        | Kind::Answer
        | Kind::Receipt
        | Kind::Notice
        | Kind::Report
        | Kind::Word
        | Kind::Mark
        | Kind::Leave
        | Kind::Survey => Ok(()),
    }
}

pub(super) fn body<T: serde::de::DeserializeOwned>(frame: &Frame<'_>) -> Result<T, Fault> {
    codec::decode(frame.body).map_err(|err| Fault::Body { kind: frame.head.kind, why: err.to_string() })
}
