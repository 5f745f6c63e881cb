//! The frameworks' traits for the core's types: `Worker` as an argument of a handler.
use std::fmt;

use crate::worker::{Worker, try_worker};

/// A handler asked for the worker outside of one: in a test that did not lend it `testing::worker()`.
#[derive(Debug)]
pub struct NoWorker(());

impl fmt::Display for NoWorker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this handler runs outside a worker; in a test, call cluster_core::testing::worker() first",
        )
    }
}

impl std::error::Error for NoWorker {}

#[cfg(feature = "axum")]
mod axum {
    use axum_core::extract::FromRequestParts;
    use axum_core::response::{IntoResponse, Response};
    use http::StatusCode;
    use http::request::Parts;

    use super::{NoWorker, Worker, try_worker};
    use crate::counter::CounterError;
    use crate::ipc::error::{AskError, SendError};
    use crate::metrics::MetricsError;

    /// 503 with the error's text: another worker, or the same one later, may do better.
    impl IntoResponse for SendError {
        fn into_response(self) -> Response {
            (StatusCode::SERVICE_UNAVAILABLE, self.to_string()).into_response()
        }
    }

    /// 504 where no answer came in time, otherwise 503, with the error's text.
    impl IntoResponse for AskError {
        fn into_response(self) -> Response {
            let status = match self {
                AskError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, self.to_string()).into_response()
        }
    }

    /// 503 with the error's text.
    impl IntoResponse for MetricsError {
        fn into_response(self) -> Response {
            (StatusCode::SERVICE_UNAVAILABLE, self.to_string()).into_response()
        }
    }

    /// 500 with the error's text: the program asks for a counter that cannot be.
    impl IntoResponse for CounterError {
        fn into_response(self) -> Response {
            (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
        }
    }

    impl<S: Send + Sync> FromRequestParts<S> for Worker {
        type Rejection = NoWorker;

        async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoWorker> {
            parts.extensions.get::<Worker>().cloned().or_else(try_worker).ok_or(NoWorker(()))
        }
    }

    impl IntoResponse for NoWorker {
        fn into_response(self) -> Response {
            (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
        }
    }
}

#[cfg(feature = "actix")]
mod actix {
    use std::future::{Ready, ready};

    use actix_web::dev::Payload;
    use actix_web::http::StatusCode;
    use actix_web::{FromRequest, HttpMessage, HttpRequest, ResponseError};

    use super::{NoWorker, Worker, try_worker};
    use crate::counter::CounterError;
    use crate::ipc::error::{AskError, SendError};
    use crate::metrics::MetricsError;

    impl FromRequest for Worker {
        type Error = actix_web::Error;
        type Future = Ready<Result<Self, actix_web::Error>>;

        fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
            let lent = request.extensions().get::<Worker>().cloned();
            ready(lent.or_else(try_worker).ok_or_else(|| NoWorker(()).into()))
        }
    }

    /// 503 with the error's text: another worker, or the same one later, may do better.
    impl ResponseError for SendError {
        fn status_code(&self) -> StatusCode {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// 504 where no answer came in time, otherwise 503, with the error's text.
    impl ResponseError for AskError {
        fn status_code(&self) -> StatusCode {
            match self {
                AskError::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
                _ => StatusCode::SERVICE_UNAVAILABLE,
            }
        }
    }

    /// 503 with the error's text.
    impl ResponseError for MetricsError {
        fn status_code(&self) -> StatusCode {
            StatusCode::SERVICE_UNAVAILABLE
        }
    }

    /// Answers 500: the default of the trait. The program asks for a counter that cannot be.
    impl ResponseError for CounterError {}

    /// Answers 500: the default of the trait.
    impl ResponseError for NoWorker {}
}
