//! What users write to receive something, as traits that ordinary closures and functions implement.
//!
//! `Kind` and `Args` are for the compiler only: they tell apart implementations that could otherwise overlap,
//! and are always inferred.
use std::fmt::Display;
use std::marker::PhantomData;

use futures::future::{BoxFuture, Future, FutureExt as _};

use crate::ipc::message::Message;

/// What a callback may return: nothing, or a result whose error can be displayed (it is logged).
///
/// ```
/// fn is_outcome<R: cluster_core::Outcome>() {}
/// is_outcome::<()>();
/// is_outcome::<Result<u32, std::io::Error>>();
/// ```
#[diagnostic::on_unimplemented(
    message = "a callback cannot return `{Self}`",
    note = "it returns `()`, or a `Result` whose error implements `Display`; or it is `async` and its future is `Send`"
)]
pub trait Outcome: Send + 'static {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), String>;
}

impl Outcome for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<T: Send + 'static, E: Display + Send + 'static> Outcome for Result<T, E> {
    fn into_result(self) -> Result<(), String> {
        self.map(drop).map_err(|err| err.to_string())
    }
}

/// A program that never ends, such as an `async` block around a `loop`, has the type `!`, which has no name of its
/// own in stable Rust: it is what a function returns that never does.
type Never = <fn() -> ! as Function>::Returned;

#[doc(hidden)]
pub trait Function {
    type Returned;
}

impl<R> Function for fn() -> R {
    type Returned = R;
}

impl Outcome for Never {
    fn into_result(self) -> Result<(), String> {
        self
    }
}

/// What a callback may return, sync or async: an [`Outcome`], or a `Send` future of one.
///
/// ```
/// fn callback<R: cluster_core::Returns<K>, K>(_: impl Fn(u32) -> R) {}
/// callback(|_| println!("called"));
/// callback(|_| async { Err::<(), _>("no") });
/// ```
#[diagnostic::on_unimplemented(
    message = "a callback cannot return `{Self}`",
    note = "it returns `()`, or a `Result` whose error implements `Display`; or it is `async` and its future is `Send`"
)]
pub trait Returns<Kind>: Send + 'static {
    #[doc(hidden)]
    fn into_called(self) -> Called;
}

/// A call that was made.
#[doc(hidden)]
pub enum Called {
    /// It is over.
    Done(Result<(), String>),
    /// It is over when this is.
    Later(BoxFuture<'static, Result<(), String>>),
}

/// Marks a callback that returns its outcome.
#[doc(hidden)]
pub struct Now(());
/// Marks a callback that returns a future of its outcome `R`.
#[doc(hidden)]
pub struct Soon<R>(PhantomData<R>);

#[diagnostic::do_not_recommend]
impl<R: Outcome> Returns<Now> for R {
    fn into_called(self) -> Called {
        Called::Done(self.into_result())
    }
}

#[diagnostic::do_not_recommend]
impl<F: Future<Output = R> + Send + 'static, R: Outcome> Returns<Soon<R>> for F {
    fn into_called(self) -> Called {
        Called::Later(self.map(Outcome::into_result).boxed())
    }
}

/// Receives messages of one type: a function or closure of the message, or of the sender and the message.
///
/// It may be sync or async and return what [`Returns`] says. The closure names the type of its message; `From`
/// is a [`Peer`](crate::Peer) in a worker and a [`WorkerRef`](crate::WorkerRef) on the primary's side, and is
/// to be written where the closure calls its methods.
///
/// ```
/// use cluster_core::Handler;
///
/// fn on_message<A>(_: impl Handler<u32, A>) {}
///
/// on_message(|text: String| println!("{text}"));
/// on_message(|from: u32, text: String| async move {
///     println!("{from}: {text}");
///     Ok::<(), std::io::Error>(())
/// });
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no handler of messages",
    label = "expected `|msg: T|` or `|from: {From}, msg: T|`, sync or async",
    note = "`T` is your type of message, written out: it derives `serde::Serialize` and `serde::Deserialize`, is `Send`, and owns its data",
    note = "a handler is `Fn`, `Send`, `Sync` and `'static`, and returns `()`, a `Result` whose error implements `Display`, or a `Send` future of one of these"
)]
pub trait Handler<From, Args>: Send + Sync + 'static {
    #[doc(hidden)]
    type Message: Message;
    /// A panic is for the caller to catch.
    #[doc(hidden)]
    fn call(&self, from: impl FnOnce() -> From, message: Self::Message) -> Called;
}

#[diagnostic::do_not_recommend]
impl<F, From, T, R, K> Handler<From, (T, K)> for F
where
    F: Fn(T) -> R + Send + Sync + 'static,
    T: Message,
    R: Returns<K>,
{
    type Message = T;

    fn call(&self, _: impl FnOnce() -> From, message: T) -> Called {
        self(message).into_called()
    }
}

#[diagnostic::do_not_recommend]
impl<F, From, T, R, K> Handler<From, (From, T, K)> for F
where
    F: Fn(From, T) -> R + Send + Sync + 'static,
    T: Message,
    R: Returns<K>,
{
    type Message = T;

    fn call(&self, from: impl FnOnce() -> From, message: T) -> Called {
        self(from(), message).into_called()
    }
}

/// What is called whenever something has happened.
pub(crate) type Callback<A> = Box<dyn Fn(A) -> Called + Send + Sync>;
/// What is called once.
pub(crate) type Program<A> = Box<dyn FnOnce(A) -> Called + Send>;

/// A callback of any kind, as one that can be kept.
pub(crate) fn callback<A, F, R, K>(callback: F) -> Callback<A>
where
    F: Fn(A) -> R + Send + Sync + 'static,
    R: Returns<K>,
{
    Box::new(move |arg| callback(arg).into_called())
}

/// A program of any kind, as one that can be kept.
pub(crate) fn program<A, F, R, K>(program: F) -> Program<A>
where
    F: FnOnce(A) -> R + Send + 'static,
    R: Returns<K>,
{
    Box::new(move |arg| program(arg).into_called())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Add(u32);

    #[derive(Clone)]
    struct Sender(u32);

    impl Sender {
        fn id(&self) -> u32 {
            self.0
        }
    }

    fn finish(called: Called) -> Result<(), String> {
        match called {
            Called::Done(result) => result,
            Called::Later(result) => result.now_or_never().expect("it waits for nothing"),
        }
    }

    /// As `Worker::on_message` will take it.
    fn call<A>(handler: impl Handler<Sender, A, Message = Add>) -> Result<(), String> {
        finish(handler.call(|| Sender(7), Add(3)))
    }

    fn refuse() -> Result<(), io::Error> {
        Err(io::Error::other("refused"))
    }

    #[test]
    fn handlers_of_all_kinds_are_inferred_from_the_message_alone() {
        let sum = Arc::new(AtomicU32::new(0));
        let add = |n: u32| {
            let sum = sum.clone();
            move || sum.fetch_add(n, Ordering::Relaxed)
        };
        let (one, two, three, four) = (add(1), add(2), add(4), add(8));
        let said = [
            call(move |msg: Add| assert_eq!((one(), msg.0).1, 3)),
            call(|_: Add| refuse()),
            call(move |msg: Add| {
                let _ = (two(), msg.0);
                async {}
            }),
            call(|msg: Add| async move {
                let _ = msg.0;
                refuse()?;
                Ok::<_, io::Error>(())
            }),
            call(move |from: Sender, msg: Add| assert_eq!((three(), from.id(), msg.0).1, 7)),
            call(|_, _: Add| refuse()),
            call(move |from: Sender, msg: Add| {
                let _ = four();
                async move { assert_eq!((from.id(), msg.0), (7, 3)) }
            }),
            call(async |_: Add| Err::<u8, _>("no")),
            call(|from, msg: Add| async move {
                let _ = (from, msg);
                Err::<u8, _>("no")
            }),
        ];
        let texts = said.map(|said| said.err().unwrap_or_default());
        assert_eq!(texts, ["", "refused", "", "refused", "", "refused", "", "no", "no"]);
        assert_eq!(sum.load(Ordering::Relaxed), 1 + 2 + 4 + 8, "each was called once");
    }

    #[test]
    fn named_functions_are_handlers() {
        fn plain(_: Add) {}
        async fn later(_: Add) -> Result<(), io::Error> {
            refuse()
        }
        fn with_sender(from: Sender, _: Add) -> Result<(), String> {
            Err(format!("from {}", from.id()))
        }
        async fn with_sender_later(_: Sender, _: Add) {}
        assert_eq!(call(plain), Ok(()));
        assert_eq!(call(later), Err("refused".to_owned()));
        assert_eq!(call(with_sender), Err("from 7".to_owned()));
        assert_eq!(call(with_sender_later), Ok(()));
    }

    #[test]
    fn a_sync_handler_is_done_when_it_returns() {
        let handler = |_: Add| ();
        assert!(matches!(Handler::<Sender, _>::call(&handler, || Sender(1), Add(1)), Called::Done(Ok(()))));
    }

    #[test]
    fn callbacks_and_programs_of_all_kinds_can_be_kept() {
        #[derive(Clone)]
        struct Exit(u32);
        fn named(exit: Exit) -> Result<(), String> {
            Err(format!("exit {}", exit.0))
        }
        let callbacks: Vec<Callback<Exit>> = vec![
            callback(|exit: Exit| assert_eq!(exit.0, 9)),
            callback(|exit: Exit| named(exit.clone())),
            callback(named),
            callback(|exit: Exit| async move { assert_eq!(exit.0, 9) }),
            callback(async |exit: Exit| named(exit)),
        ];
        let said = callbacks.iter().map(|callback| finish(callback(Exit(9))));
        let no = || Err("exit 9".to_owned());
        assert_eq!(said.collect::<Vec<_>>(), [Ok(()), no(), no(), Ok(()), no()]);

        let once = Exit(1);
        let programs: Vec<Program<Exit>> =
            vec![program(move |_| assert_eq!(once.0, 1)), program(|exit: Exit| async move { named(exit) })];
        // One that never ends is no less a program.
        drop(program(|_: Exit| async {
            loop {
                std::future::pending::<()>().await
            }
        }));
        let said = programs.into_iter().map(|program| finish(program(Exit(9))));
        assert_eq!(said.collect::<Vec<_>>(), [Ok(()), no()]);
    }

    #[test]
    fn the_caller_can_catch_a_panic() {
        let handler = |msg: Add| assert_eq!(msg.0, 0, "the test panics here, as it should");
        let caught = catch_unwind(AssertUnwindSafe(|| call(handler)));
        assert!(caught.is_err());
    }
}
