//! What can become of a message.
use std::time::Duration;

/// Why a message was not sent.
///
/// # Example
/// ```
/// # use cluster_core::SendError;
/// let fake = cluster_core::testing::worker();
/// let huge = vec![0_u8; 65 << 20];
/// assert!(matches!(fake.try_send(&huge), Err(SendError::TooLarge { limit, .. }) if limit == 64 << 20));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// So much is on its way to the receiver that there is no room: `send` would wait.
    #[error("{to} has not taken what was sent to it before: there is no room (send().await waits for it)")]
    Full {
        /// Who was to receive it.
        to: String,
    },
    /// The receiver is gone, and nobody will have its place.
    #[error("{to} is gone")]
    PeerGone {
        /// Who was to receive it.
        to: String,
    },
    /// The cluster has no primary-side code that could receive it.
    #[error(
        "nobody listens on the primary's side: give the builder a handler (on_message, on_ask) or a program (primary)"
    )]
    NoDirector,
    /// The message is longer than 64 MiB.
    #[error("a message of {type_name} has {size} bytes, more than the {limit} that one may have")]
    TooLarge {
        /// Its type's name.
        type_name: String,
        /// Its encoded size in bytes; of a message that was given up while it was encoded, the size until then.
        size: u64,
        /// The most bytes that a message may have.
        limit: u64,
    },
    /// The type cannot be carried as it is; the text names the remedy.
    #[error("{0}")]
    Unsupported(String),
    /// Its own `Serialize` failed.
    #[error("a message of {type_name} cannot be encoded: {why}")]
    Encode {
        /// Its type's name.
        type_name: String,
        /// What `Serialize` said.
        why: String,
    },
    /// This process has nobody to send to: it is no worker (yet).
    #[error("messages are sent from a worker or from the primary's side, and this process is neither (yet)")]
    NoWorker,
    /// The primary's side sends to workers.
    #[error("the primary's side does not send to itself: name a worker, a slot or all")]
    ToItself,
    /// The system refused what sending takes.
    #[error("cannot send: {0}")]
    System(String),
}

/// Why there is no answer.
///
/// # Example
/// ```
/// # use cluster_core::{AskError, SendError};
/// let err = AskError::from(SendError::NoDirector);
/// assert!(err.to_string().contains("primary's side"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The question did not leave.
    #[error(transparent)]
    Send(#[from] SendError),
    /// No answer came in time.
    #[error("{to} did not answer within {after:?}")]
    TimedOut {
        /// Who was asked.
        to: String,
        /// How long it had.
        after: Duration,
    },
    /// The process that was asked is gone, or its place is empty just now.
    #[error("{to} is gone")]
    PeerGone {
        /// Who was asked.
        to: String,
    },
    /// The process that was asked takes nothing, it is stopped or stuck, and as much as may wait for it does: the
    /// question was turned away.
    #[error("{to} takes nothing, and as much as may wait for it does: ask again when it is well")]
    Full {
        /// Who was asked.
        to: String,
    },
    /// The process that was asked has no handler for this question.
    #[error("{to} has no on_ask handler for {type_name}")]
    NoHandler {
        /// Who was asked.
        to: String,
        /// The question's type.
        type_name: String,
    },
    /// The handler answered with an error: this text.
    #[error("{0}")]
    Refused(String),
    /// The question or the answer could not be read at the other end.
    #[error("{0}")]
    Unreadable(String),
    /// Several would answer.
    #[error("a question has one receiver, and {to} are several")]
    SeveralPeers {
        /// Who was asked.
        to: String,
    },
}
