//! What operators ask: metrics, and whether there is life.
use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::{MethodRouter, get};
use cluster_core::adapter::{METRICS_TYPE, readiness};
use cluster_core::{MetricsError, Worker};

/// Answers `GET` with metrics of the whole cluster, whichever worker is asked: Prometheus' text format, version 0.0.4.
/// 503 with the reason where the primary does not tell. Whoever can ask can read it: put it on a listener of its own
/// ([`Serve::also`](crate::Serve::also)) where clients must not.
///
/// # Example
/// ```
/// use axum::Router;
///
/// let admin: Router = Router::new().route("/metrics", cluster_axum::metrics()).merge(cluster_axum::health());
/// let app = Router::new();
/// cluster_axum::serve(app).bind("127.0.0.1:3000").also(admin, "127.0.0.1:9090");
/// ```
pub fn metrics<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    get(|worker: Worker| async move {
        let text = worker.metrics().await?;
        Ok::<_, MetricsError>(([(header::CONTENT_TYPE, METRICS_TYPE)], text))
    })
}

/// [`livez`] at `/livez` and [`readyz`] at `/readyz`, to be merged into a router.
///
/// # Example
/// ```
/// let app: axum::Router = axum::Router::new().merge(cluster_axum::health());
/// ```
pub fn health<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/livez", livez()).route("/readyz", readyz())
}

/// Answers `GET` with 200: some worker's runtime turns. For liveness probes; workers that hang or die are the primary's
/// business, and no reason to restart all of it.
///
/// # Example
/// ```
/// let app: axum::Router = axum::Router::new().route("/healthz", cluster_axum::livez());
/// ```
pub fn livez<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    get(|| async { "live\n" })
}

/// Answers `GET` with 200 where the cluster should be sent requests, and with 503 where the worker that is asked is not
/// ready yet, or the cluster drains, or its primary is gone. For readiness probes and load balancers. A worker that drains
/// alone, at a reload, says 200: the service does not stop; see [`Worker::is_serving`].
///
/// # Example
/// ```
/// let app: axum::Router = axum::Router::new().route("/ready", cluster_axum::readyz());
/// ```
pub fn readyz<S: Clone + Send + Sync + 'static>() -> MethodRouter<S> {
    get(
        |worker: Worker| async move { readiness(&worker).map_err(|not| (StatusCode::SERVICE_UNAVAILABLE, not)) },
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn ask(path: &str) -> (StatusCode, String) {
        let app: Router = Router::new().route("/metrics", metrics()).merge(health());
        let answer = app.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap())
    }

    #[tokio::test]
    async fn a_worker_that_drains_with_its_cluster_lives_and_is_not_ready() {
        cluster_core::testing::worker();
        assert_eq!(ask("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
        cluster_core::testing::drain();
        assert_eq!(ask("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()));
        assert_eq!(ask("/livez").await, (StatusCode::OK, "live\n".to_owned()));
    }

    #[tokio::test]
    async fn where_there_is_no_primary_the_scrape_fails_and_says_why() {
        cluster_core::testing::worker();
        let (status, why) = ask("/metrics").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.contains("no primary"), "{why}");
    }
}
