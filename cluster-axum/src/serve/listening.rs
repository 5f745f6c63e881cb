//! Where an application is listened for, and which further ones there are.
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use cluster_core::adapter::{Reach, Wanted};
use cluster_core::{Addr, BoxError, Inherited, Uds, Worker};

use crate::app::App;
use crate::program::{Make, Site};
use crate::serve::{Serve, as_it_is, as_it_makes};

impl Serve {
    /// Listens on an address; several calls, several listeners. Bound at start, once, by the primary. Without
    /// any, the start is [`StartError::NoListener`](crate::StartError::NoListener).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).bind("127.0.0.1:3000").bind(("::1", 3000));
    /// ```
    pub fn bind(self, addr: impl Into<Addr>) -> Self {
        self.listen_to(0, Wanted::Tcp(addr.into(), Reach::First))
    }

    /// Listens on a unix socket; see [`Uds`] for its permissions. Handlers know their clients by
    /// `ConnectInfo<`[`UnixPeer`](crate::UnixPeer)`>`.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// use cluster_axum::Uds;
    /// cluster_axum::serve(app).bind_uds("/run/shop/http.sock").bind_uds(Uds::new("/run/shop/2.sock").mode(0o660));
    /// ```
    pub fn bind_uds(self, path: impl Into<Uds>) -> Self {
        self.listen_to(0, Wanted::Uds(path.into()))
    }

    /// Listens on a socket that the program was started with, by systemd socket activation or what speaks like it;
    /// as [`Builder::inherit`](crate::Builder::inherit).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).inherit("web");
    /// ```
    pub fn inherit(self, passed: impl Into<Inherited>) -> Self {
        self.listen_to(0, Wanted::Inherited(passed.into()))
    }

    /// As [`inherit`](Self::inherit) where such a socket was passed, and otherwise as [`bind`](Self::bind).
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).inherit_or_bind(0, "127.0.0.1:3000");
    /// ```
    pub fn inherit_or_bind(self, passed: impl Into<Inherited>, addr: impl Into<Addr>) -> Self {
        self.listen_to(0, Wanted::InheritedOr(passed.into(), addr.into(), Reach::First))
    }

    /// Serves another application on an address of its own, in the same workers: one for operators, or one that
    /// redirects to HTTPS. Several calls, several applications. A drain is one for all of them.
    ///
    /// # Example
    /// ```
    /// use axum::{Router, routing::get};
    /// let app = Router::new().route("/", get(|| async { "hello" }));
    /// let admin = Router::new().route("/health", get(|| async { "fine" }));
    /// cluster_axum::serve(app).bind("0.0.0.0:3000").also(admin, "127.0.0.1:3001");
    /// ```
    pub fn also<K: 'static>(self, app: impl App<K>, addr: impl Into<Addr>) -> Self {
        self.and(as_it_is(app), Wanted::Tcp(addr.into(), Reach::First))
    }

    /// As [`also`](Self::also), with an application that `make` makes in each worker, as
    /// [`serve_with`](crate::serve_with) has it. Applications are made one after another, the first one first.
    ///
    /// # Example
    /// ```
    /// use axum::Router;
    /// use tokio::sync::OnceCell;
    /// # #[derive(Clone)]
    /// # struct Pool;
    /// # impl Pool { async fn connect() -> Result<Self, std::io::Error> { Ok(Self) } }
    /// # fn shop() -> Router<Pool> { Router::new() }
    /// # fn admin() -> Router<Pool> { Router::new() }
    /// // One pool for both: whoever comes first makes it.
    /// static POOL: OnceCell<Pool> = OnceCell::const_new();
    ///
    /// cluster_axum::serve_with(|_| async {
    ///     Ok(shop().with_state(POOL.get_or_try_init(Pool::connect).await?.clone()))
    /// })
    /// .bind("0.0.0.0:3000")
    /// .also_with(
    ///     |_| async { Ok(admin().with_state(POOL.get_or_try_init(Pool::connect).await?.clone())) },
    ///     "127.0.0.1:3001",
    /// );
    /// ```
    pub fn also_with<F, Fut, A, K>(self, make: F, addr: impl Into<Addr>) -> Self
    where
        F: FnOnce(Worker) -> Fut + Send + 'static,
        Fut: Future<Output = Result<A, BoxError>> + Send + 'static,
        A: App<K>,
        K: 'static,
    {
        self.and(as_it_makes(make), Wanted::Tcp(addr.into(), Reach::First))
    }

    /// As [`also`](Self::also), on a unix socket.
    ///
    /// # Example
    /// ```
    /// # let (app, admin) = (axum::Router::new(), axum::Router::new());
    /// use cluster_axum::Uds;
    /// cluster_axum::serve(app).bind("0.0.0.0:3000").also_uds(admin, Uds::new("/run/shop/admin.sock").mode(0o600));
    /// ```
    pub fn also_uds<K: 'static>(self, app: impl App<K>, path: impl Into<Uds>) -> Self {
        self.and(as_it_is(app), Wanted::Uds(path.into()))
    }

    /// Listens on a socket that [`bind_tcp`](crate::bind_tcp) made. Any other is an error at start, because
    /// `main` runs more than once and could not bind it again.
    ///
    /// # Example
    /// ```
    /// # let app = axum::Router::new();
    /// let listener = cluster_axum::bind_tcp("127.0.0.1:0")?;
    /// println!("will serve on {}", listener.local_addr()?);
    /// cluster_axum::serve(app).listen(listener);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen(mut self, listener: TcpListener) -> Self {
        let name = self.name_listener(0);
        self.builder = self.builder.listen_as(&name, "http", listener);
        self
    }

    /// Listens on a socket that [`bind_uds`](crate::bind_uds) made; as [`listen`](Self::listen).
    ///
    /// # Example
    /// ```no_run
    /// # let app = axum::Router::new();
    /// cluster_axum::serve(app).listen_uds(cluster_axum::bind_uds("/run/shop/http.sock")?);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn listen_uds(mut self, listener: UnixListener) -> Self {
        let name = self.name_listener(0);
        self.builder = self.builder.listen_as(&name, "http", listener);
        self
    }

    fn and(mut self, make: Make, wanted: Wanted) -> Self {
        let site = self.add_site(make);
        self.listen_to(site, wanted)
    }

    pub(super) fn add_site(&mut self, make: Make) -> usize {
        self.sites.push(Site { make, listeners: Vec::new() });
        self.sites.len() - 1
    }

    fn listen_to(mut self, site: usize, wanted: Wanted) -> Self {
        let name = self.name_listener(site);
        self.builder = self.builder.listen_to(&name, "http", wanted);
        self
    }

    /// `http`, `http-2`, `http-3` and so on.
    pub(super) fn name_listener(&mut self, site: usize) -> String {
        let name = match self.sites.iter().map(|site| site.listeners.len()).sum() {
            0 => "http".to_owned(),
            before => format!("http-{}", before + 1),
        };
        self.sites[site].listeners.push(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use crate::serve;

    fn app() -> Router {
        Router::new()
    }

    #[test]
    fn each_listener_has_a_name_of_its_own() {
        let listener = cluster_core::bind_tcp("127.0.0.1:0").unwrap();
        let serve = serve(app()).bind("127.0.0.1:0").listen(listener).bind("127.0.0.1:0");
        assert_eq!(serve.sites[0].listeners, ["http", "http-2", "http-3"]);
        let serve = serve.also(app(), "127.0.0.1:0").bind_uds("a.sock").also_uds(app(), "b.sock");
        assert_eq!(serve.sites[0].listeners, ["http", "http-2", "http-3", "http-5"]);
        assert_eq!((&*serve.sites[1].listeners[0], &*serve.sites[2].listeners[0]), ("http-4", "http-6"));
    }
}
