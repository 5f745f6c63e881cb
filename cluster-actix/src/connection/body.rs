//! A request's body that comes too slowly.
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::error::PayloadError;
use actix_http::{Payload, Request};
use actix_web::web::Bytes;
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Whom a body is not too slow for: one that sends so many bytes within the time that it has. Who sends a byte now and then
/// would hold a connection, and a handler, for as long as it likes.
const LEAST: usize = 16 * 1024;

/// How it goes with a request's body.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    is_too_slow: Cell<bool>,
    /// It became a stream of another protocol, and has no end that could be waited for.
    is_endless: Cell<bool>,
}

impl Pace {
    /// Whether it has not come in time.
    pub(crate) fn is_too_slow(&self) -> bool {
        self.is_too_slow.get()
    }

    /// From now on it may take as long as it likes.
    pub(crate) fn let_go(&self) {
        self.is_endless.set(true);
    }
}

/// Has the request's body fail where it does not come. None: it has none.
pub(crate) fn paced(request: &mut Request, patience: Duration) -> Option<Rc<Pace>> {
    if matches!(request.payload(), Payload::None) || patience.is_zero() {
        return None;
    }
    let pace = Rc::<Pace>::default();
    let body = Paced {
        body: request.take_payload(),
        patience,
        came: 0,
        waited: Duration::ZERO,
        waits: None,
        pace: pace.clone(),
    };
    *request.payload() = Payload::Stream { payload: Box::pin(body) };
    Some(pace)
}

/// A body, whose client may take `patience` for each `LEAST` bytes of it. What the application takes is not counted.
struct Paced {
    body: Payload,
    patience: Duration,
    came: usize,
    waited: Duration,
    waits: Option<Wait>,
    pace: Rc<Pace>,
}

/// The application waits for the client.
struct Wait {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl Stream for Paced {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(piece) = Pin::new(&mut self.body).poll_next(cx) {
            if let Some(wait) = self.waits.take() {
                self.waited += wait.since.elapsed();
            }
            if let Some(Ok(bytes)) = &piece {
                self.came += bytes.len();
            }
            if self.came >= LEAST {
                (self.came, self.waited) = (0, Duration::ZERO);
            }
            return Poll::Ready(piece);
        }
        if self.pace.is_endless.get() {
            return Poll::Pending;
        }
        let left = self.patience.saturating_sub(self.waited);
        let wait = self.waits.get_or_insert_with(|| {
            let since = Instant::now();
            Wait { since, deadline: Box::pin(sleep_until(since + left)) }
        });
        match wait.deadline.as_mut().poll(cx) {
            Poll::Ready(()) if self.pace.is_endless.get() => Poll::Pending,
            Poll::Ready(()) => {
                // Who asks again hears no more of it.
                self.body = Payload::None;
                self.pace.is_too_slow.set(true);
                let why = io::Error::new(io::ErrorKind::TimedOut, "the body comes too slowly");
                Poll::Ready(Some(Err(PayloadError::Io(why))))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_http::BoxedPayloadStream;
    use futures::StreamExt as _;
    use tokio::sync::mpsc;
    use tokio::time::{advance, pause};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// A request whose body comes from a channel.
    fn request() -> (mpsc::UnboundedSender<usize>, Request) {
        let (send, mut sent) = mpsc::unbounded_channel::<usize>();
        let body = futures::stream::poll_fn(move |cx| {
            sent.poll_recv(cx).map(|size| size.map(|size| Ok(Bytes::from(vec![0; size]))))
        });
        let body: BoxedPayloadStream = Box::pin(body);
        let mut request = Request::with_payload(Payload::Stream { payload: body });
        paced(&mut request, PATIENCE);
        (send, request)
    }

    #[actix_web::test]
    async fn a_body_that_trickles_fails_and_one_that_flows_does_not() {
        pause();
        let (send, mut request) = request();
        let mut body = request.take_payload();
        // Enough within the time, for as long as it likes.
        for _ in 0..10 {
            send.send(LEAST).unwrap();
            assert_eq!(body.next().await.unwrap().unwrap().len(), LEAST);
            assert!(futures::poll!(body.next()).is_pending());
            advance(PATIENCE - Duration::from_secs(1)).await;
        }
        send.send(LEAST).unwrap();
        body.next().await.unwrap().unwrap();
        // A byte now and then.
        for _ in 0..25 {
            assert!(futures::poll!(body.next()).is_pending());
            advance(Duration::from_secs(1)).await;
            send.send(1).unwrap();
            body.next().await.unwrap().unwrap();
        }
        assert!(futures::poll!(body.next()).is_pending());
        advance(Duration::from_secs(6)).await;
        let PayloadError::Io(err) = body.next().await.unwrap().unwrap_err() else { panic!("another error") };
        assert_eq!(err.kind(), io::ErrorKind::TimedOut);
        assert!(body.next().await.is_none());
    }

    #[actix_web::test]
    async fn the_time_that_the_application_takes_is_its_own() {
        pause();
        let (send, mut request) = request();
        let mut body = request.take_payload();
        send.send(1).unwrap();
        body.next().await.unwrap().unwrap();
        advance(PATIENCE * 10).await;
        assert!(futures::poll!(body.next()).is_pending());
        send.send(1).unwrap();
        body.next().await.unwrap().unwrap();
    }

    #[actix_web::test]
    async fn a_request_without_a_body_is_as_it_was() {
        let mut request = Request::new();
        assert!(paced(&mut request, PATIENCE).is_none());
        assert!(matches!(request.into_parts().1, Payload::None));
    }
}
