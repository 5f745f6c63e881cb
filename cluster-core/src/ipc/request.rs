//! Questions and answers: who waits for one, and who answers.
use std::fmt::Display;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::panic_text;
use crate::ipc::codec;
use crate::ipc::endpoint::Endpoint;
use crate::ipc::error::{AskError, SendError};
use crate::ipc::frame::{Address, Kind};
use crate::ipc::inbox::{Answerer, Asked};
use crate::ipc::message::{Ask, Message};
use crate::ipc::notice::{Refusal, printable};
use crate::ipc::outbox::{Awaits, Reply};
use crate::ipc::prepare::prepare;
use crate::ipc::sending::{Awaited, Course, Sending};
use crate::ipc::shape::{self, Unsupported};

/// How long an answer may take where nothing else was said.
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A question that has been asked: resolves to its answer. See [`Worker::ask`](crate::Worker::ask).
///
/// It is asked at the call, and resolves within its timeout, whatever becomes of the process that was asked.
/// Dropped, its answer is ignored.
///
/// # Panics
/// When polled outside a Tokio runtime with its time driver on.
///
/// # Example
/// ```no_run
/// use cluster_core::{Ask, AskError};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize)]
/// struct Next;
/// impl Ask for Next {
///     type Answer = u64;
/// }
///
/// # async fn handler() -> Result<(), AskError> {
/// let number = cluster_core::worker().ask(cluster_core::To::Primary, &Next).timeout(Duration::from_secs(1)).await?;
/// # Ok(()) }
/// ```
#[must_use = "the answer comes to who awaits it"]
pub struct Asking<A> {
    to: Address,
    type_name: String,
    patience: Duration,
    since: Instant,
    /// Made at the first poll: only then is there surely a runtime.
    deadline: Option<Pin<Box<Sleep>>>,
    course: Awaited,
    answer: oneshot::Receiver<Result<A, AskError>>,
    refused: Option<AskError>,
}

impl<A: Message> Asking<A> {
    pub(crate) fn ask<Q: Ask<Answer = A>>(endpoint: &Endpoint, to: Address, question: &Q) -> Self {
        let type_name = shape::key_of::<Q>().map_or_else(|_| String::new(), |key| key.name.clone());
        let (tell, answer) = oneshot::channel();
        // Nobody waits for it where it was dropped.
        let awaits = Awaits::Reply(Box::new(move |reply| drop(tell.send(read(to, reply)))));
        // An answer that this process could not read would come to nothing.
        let prepared = shape::key_of::<A>()
            .map_err(|err| SendError::Unsupported(err.to_string()))
            .and_then(|_| prepare(Kind::Ask, endpoint.me().into(), to, question, &[]));
        if to.is_one() {
            Self::over(to, type_name, Course::begin(endpoint, prepared, awaits), answer, None)
        } else {
            let refused = Some(AskError::SeveralPeers { to: to.to_string() });
            Self::over(to, type_name, Course::Over, answer, refused)
        }
    }

    pub(crate) fn failed(err: SendError) -> Self {
        let (_, answer) = oneshot::channel();
        Self::over(Address::Director, String::new(), Course::Failed(err), answer, None)
    }

    fn over(
        to: Address,
        type_name: String,
        course: Course,
        answer: oneshot::Receiver<Result<A, AskError>>,
        refused: Option<AskError>,
    ) -> Self {
        let (course, since) = (Awaited(course), Instant::now());
        Self { to, type_name, patience: PATIENCE, since, deadline: None, course, answer, refused }
    }

    /// How long the answer may take, from the call on (default 10 s).
    ///
    /// # Example
    /// ```no_run
    /// # use cluster_core::{Ask, AskError, To};
    /// # async fn wait<Q: Ask>(question: &Q) -> Result<Q::Answer, AskError> {
    /// cluster_core::worker().ask(To::Primary, question).timeout(std::time::Duration::from_millis(100)).await
    /// # }
    /// ```
    pub fn timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.deadline = None;
        self
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<A, AskError>> {
        if let Some(refused) = self.refused.take() {
            return Poll::Ready(Err(refused));
        }
        std::task::ready!(self.course.0.poll(cx))?;
        let answered = std::task::ready!(self.answer.poll_unpin(cx));
        self.course.0.end();
        Poll::Ready(match answered {
            Ok(Err(AskError::NoHandler { to, .. })) => {
                Err(AskError::NoHandler { to, type_name: self.type_name.clone() })
            }
            Ok(answered) => answered,
            Err(_) => Err(AskError::PeerGone { to: self.to.to_string() }),
        })
    }
}

/// What a reply says, in the words of who asked.
fn read<A: Message>(to: Address, reply: Reply<'_>) -> Result<A, AskError> {
    let unreadable = |why: String| AskError::Unreadable(format!("the answer of {to} cannot be read: {why}"));
    match reply {
        Reply::Answer { name, fingerprint, body } => decode(name, fingerprint, body).map_err(unreadable),
        Reply::Refusal(Refusal::Failed(why)) => Err(AskError::Refused(why)),
        Reply::Refusal(Refusal::NoHandler) => {
            Err(AskError::NoHandler { to: to.to_string(), type_name: String::new() })
        }
        Reply::Refusal(Refusal::Gone) => Err(AskError::PeerGone { to: to.to_string() }),
        Reply::Refusal(Refusal::Full) => Err(AskError::Full { to: to.to_string() }),
        Reply::Refusal(Refusal::Unreadable(why)) => {
            Err(AskError::Unreadable(format!("{to} cannot read the question: {why}")))
        }
    }
}

/// Decodes an answer, or says why not.
fn decode<A: Message>(name: &[u8], fingerprint: u64, body: Option<&[u8]>) -> Result<A, String> {
    let key = shape::key_of::<A>().map_err(|err| err.to_string())?;
    if key.name.as_bytes() != name {
        // For people: another process has written it.
        let other = printable(&String::from_utf8_lossy(name));
        return Err(format!("it answered with another type, {other} where {} was asked for", key.name));
    }
    if key.fingerprint != fingerprint {
        return Err(format!(
            "it answered with another type, whose name is {} too and whose fields are others",
            key.name
        ));
    }
    let body = body.ok_or("its parcel could not be opened")?;
    // The type's own Deserialize runs here, and it is the user's.
    match catch_unwind(|| codec::decode_message(body)) {
        Ok(decoded) => decoded.map_err(|err| err.to_string()),
        Err(_) => Err("its Deserialize panicked".to_owned()),
    }
}

impl<A: Message> Future for Asking<A> {
    type Output = Result<A, AskError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Poll::Ready(answered) = this.poll_answer(cx) {
            return Poll::Ready(answered);
        }
        // More than a clock can say is for ever; so is this.
        let until = this.since.checked_add(this.patience).unwrap_or_else(|| this.since + LONGEST);
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        std::task::ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(AskError::TimedOut { to: this.to.to_string(), after: this.patience }))
    }
}

impl<A> std::fmt::Debug for Asking<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asking")
    }
}

/// Answers with a function of the user's.
struct Function<F, G> {
    answer: F,
    /// Names the asker as the function wants it.
    asker: G,
}

/// Has questions of a type answered; the last one set does.
pub(crate) fn answer<P, Q, F, Fut, E>(
    endpoint: &Endpoint,
    function: F,
    asker: impl Fn(Address) -> P + Send + Sync + 'static,
) -> Result<(), Unsupported>
where
    P: 'static,
    Q: Ask,
    F: Fn(P, Q) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Q::Answer, E>> + Send + 'static,
    E: Display,
{
    let key = shape::key_of::<Q>()?;
    shape::key_of::<Q::Answer>()?;
    endpoint.inbox().answer(key, Arc::new(Function { answer: erase::<P, Q, _, _, _>(function), asker }));
    Ok(())
}

/// A question, decoded and asked: its answer as a frame, or why there is none.
type Answered = BoxFuture<'static, Result<Prepare, String>>;
/// Makes the frame of an answer, once it is known who asked.
type Prepare = Box<dyn FnOnce(&Endpoint, Address, u64) -> Sending + Send>;

/// Forgets the types of question and answer.
fn erase<P, Q, F, Fut, E>(
    function: F,
) -> impl Fn(P, &[u8]) -> Result<Answered, String> + Send + Sync + 'static
where
    P: 'static,
    Q: Ask,
    F: Fn(P, Q) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Q::Answer, E>> + Send + 'static,
    E: Display,
{
    move |asker, body| {
        let question = codec::decode_message::<Q>(body).map_err(|err| err.to_string())?;
        // The function itself may panic, before its future is there.
        let future = catch_unwind(AssertUnwindSafe(|| function(asker, question)));
        Ok(Box::pin(async move {
            let answered = match future {
                Ok(future) => {
                    // The error's Display is the user's, too.
                    let text = future.map(|answered| answered.map_err(|err| err.to_string()));
                    AssertUnwindSafe(text).catch_unwind().await
                }
                Err(panic) => Err(panic),
            };
            let answer = answered.map_err(|panic| panic_text(&*panic))??;
            Ok(Box::new(move |endpoint: &Endpoint, asker, correlation| {
                let me = endpoint.me().into();
                let prepared = prepare(Kind::Answer, me, asker, &answer, &[]).map(|mut prepared| {
                    crate::ipc::frame::correlate(&mut prepared.frame, correlation);
                    prepared
                });
                Sending::of(endpoint, prepared)
            }) as Prepare)
        }))
    }
}

impl<P, F, G> Answerer for Function<F, G>
where
    F: Fn(P, &[u8]) -> Result<Answered, String> + Send + Sync,
    G: Fn(Address) -> P + Send + Sync,
{
    fn answer(&self, asked: Asked<'_>) -> Result<BoxFuture<'static, ()>, String> {
        let Asked { endpoint, asker, correlation, body, ticket } = asked;
        let answered = (self.answer)((self.asker)(asker), body)?;
        let endpoint = endpoint.clone();
        Ok(Box::pin(async move {
            // The answer's Serialize runs here, and it is the user's.
            let sending = answered.await.and_then(|prepare| {
                catch_unwind(AssertUnwindSafe(|| prepare(&endpoint, asker, correlation)))
                    .map_err(|panic| panic_text(&*panic))
            });
            let sent = match sending {
                Ok(sending) => sending.await.map_err(|err| match err {
                    // The asker is gone: nobody waits.
                    SendError::PeerGone { .. } => None,
                    err => Some(Refusal::unreadable(err)),
                }),
                Err(why) => Err(Some(Refusal::failed(why))),
            };
            if let Err(Some(why)) = sent {
                endpoint.refuse(asker, correlation, why);
            }
            drop(ticket);
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Level(u32);

    /// Types of other programs, or of another build.
    mod other {
        use super::*;

        #[derive(Serialize, Deserialize)]
        pub(super) struct Level {
            pub(super) of: u32,
        }
        #[derive(Serialize, Deserialize)]
        pub(super) struct Depth(pub(super) u32);
    }

    /// What an asker who wants a `Level` gets for this answer.
    fn answered<T: Message>(answer: &T, whole: bool) -> Result<Level, String> {
        let key = shape::key_of::<T>().unwrap();
        let mut body = Vec::new();
        codec::encode_message(answer, &mut body).unwrap();
        let (name, body) = (key.name.as_bytes(), whole.then_some(body.as_slice()));
        let reply = Reply::Answer { name, fingerprint: key.fingerprint, body };
        read(Address::Director, reply).map_err(|err| match err {
            AskError::Unreadable(why) => why,
            err => panic!("{err}"),
        })
    }

    #[test]
    fn who_takes_nothing_is_not_said_to_be_gone() {
        let full = read::<Level>(Address::Director, Reply::Refusal(Refusal::Full)).unwrap_err();
        assert_eq!(full, AskError::Full { to: "the director".to_owned() });
        assert!(!full.to_string().contains("gone"), "{full}");
    }

    #[test]
    fn an_answer_is_decoded_only_where_its_type_is_the_one_asked_for() {
        const WHY: &str = "the answer of the director cannot be read: ";
        assert_eq!(answered(&Level(7), true), Ok(Level(7)));
        // The same bytes, which would decode.
        let err = answered(&other::Depth(7), true).unwrap_err();
        assert_eq!(err, format!("{WHY}it answered with another type, Depth where Level was asked for"));
        let err = answered(&other::Level { of: 7 }, true).unwrap_err();
        let same_name = "it answered with another type, whose name is Level too and whose fields are others";
        assert_eq!(err, format!("{WHY}{same_name}"));
        let err = answered(&Level(7), false).unwrap_err();
        assert_eq!(err, format!("{WHY}its parcel could not be opened"));
    }
}
