//! What operators ask: metrics, and whether there is life.
use actix_web::dev::HttpServiceFactory;
use actix_web::{HttpResponse, Route, web};
use cluster_core::adapter::{METRICS_TYPE, readiness};
use cluster_core::{MetricsError, Worker};

/// Answers `GET` with metrics of the whole cluster, whichever worker is asked: Prometheus' text format, version 0.0.4.
/// 503 with the reason where the primary does not tell. Whoever can ask can read it: guard it where clients must not.
///
/// # Example
/// ```
/// use actix_web::App;
///
/// let app = App::new().route("/metrics", cluster_actix::metrics()).service(cluster_actix::health());
/// ```
pub fn metrics() -> Route {
    web::get().to(async |worker: Worker| {
        let text = worker.metrics().await?;
        Ok::<_, MetricsError>(HttpResponse::Ok().content_type(METRICS_TYPE).body(text))
    })
}

/// [`livez`] at `/livez` and [`readyz`] at `/readyz`.
///
/// # Example
/// ```
/// let app = actix_web::App::new().service(cluster_actix::health());
/// ```
pub fn health() -> impl HttpServiceFactory + 'static {
    (web::resource("/livez").route(livez()), web::resource("/readyz").route(readyz()))
}

/// Answers `GET` with 200: some worker's runtime turns. For liveness probes; workers that hang or die are the primary's
/// business, and no reason to restart all of it.
///
/// # Example
/// ```
/// let app = actix_web::App::new().route("/healthz", cluster_actix::livez());
/// ```
pub fn livez() -> Route {
    web::get().to(async || "live\n")
}

/// Answers `GET` with 200 where the cluster should be sent requests, and with 503 where the worker that is asked is not
/// ready yet, or the cluster drains, or its primary is gone. For readiness probes and load balancers. A worker that drains
/// alone, at a reload, says 200: the service does not stop; see [`Worker::is_serving`].
///
/// # Example
/// ```
/// let app = actix_web::App::new().route("/ready", cluster_actix::readyz());
/// ```
pub fn readyz() -> Route {
    web::get().to(async |worker: Worker| match readiness(&worker) {
        Ok(ready) => HttpResponse::Ok().body(ready),
        Err(not) => HttpResponse::ServiceUnavailable().body(not),
    })
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::{App, body, test};

    use super::*;

    async fn ask(path: &str) -> (StatusCode, String) {
        let app = App::new().route("/metrics", metrics()).service(health());
        let app = test::init_service(app).await;
        let answer = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
        let status = answer.status();
        let text = body::to_bytes(answer.into_body()).await.unwrap_or_default();
        (status, String::from_utf8(text.to_vec()).unwrap())
    }

    #[actix_web::test]
    async fn a_worker_that_drains_with_its_cluster_lives_and_is_not_ready() {
        cluster_core::testing::worker();
        assert_eq!(ask("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
        cluster_core::testing::drain();
        assert_eq!(ask("/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()));
        assert_eq!(ask("/livez").await, (StatusCode::OK, "live\n".to_owned()));
    }

    #[actix_web::test]
    async fn where_there_is_no_primary_the_scrape_fails_and_says_why() {
        cluster_core::testing::worker();
        let (status, why) = ask("/metrics").await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(why.contains("no primary"), "{why}");
    }
}
