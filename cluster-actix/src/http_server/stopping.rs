//! How the server ends.
use std::fmt;
use std::time::Duration;

use actix_http::body::MessageBody;
use actix_http::{Request, Response};
use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::Error;
use actix_web::dev::AppConfig;

use super::HttpServer;

impl<F, I, S, B> HttpServer<F, I, S, B>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig> + 'static,
    S::Error: Into<Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    /// How many seconds a worker that stops may take to finish what is open before it is killed (default 30).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(|| App::new()).shutdown_timeout(10);
    /// ```
    pub fn shutdown_timeout(mut self, sec: u64) -> Self {
        self.cluster = self.cluster.drain_timeout(Duration::from_secs(sec));
        self
    }

    /// Stops the whole cluster gracefully when `signal` resolves. It is polled on the primary's side, in a process of its own in
    /// which `main` runs, too; what it waits for has to happen there. Signals to the primary stop the cluster as well, other
    /// than with actix-web.
    ///
    /// Under [`disable_signals`](Self::disable_signals) it is what stops it.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// # async fn closing_time() {}
    /// cluster_actix::HttpServer::new(App::new).shutdown_signal(closing_time());
    /// ```
    pub fn shutdown_signal<Fut>(mut self, signal: Fut) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.cluster = self.cluster.stop_from_director(signal);
        self
    }

    /// Leaves SIGTERM, SIGINT and SIGQUIT to the program: the primary does nothing about them. A program that does nothing,
    /// either, is ended by them, and its workers drain. Other signals have their meaning; workers drain at SIGTERM.
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).disable_signals();
    /// ```
    pub fn disable_signals(mut self) -> Self {
        self.cluster = self.cluster.leave_ends_alone();
        self
    }

    /// Stops the actix system at the server's end, in the primary and in each worker. Does nothing under `#[tokio::main]` and
    /// with [`Server::join`](crate::Server::join).
    ///
    /// # Example
    /// ```
    /// # use actix_web::App;
    /// cluster_actix::HttpServer::new(App::new).system_exit();
    /// ```
    pub fn system_exit(mut self) -> Self {
        self.stops_system = true;
        self
    }
}
