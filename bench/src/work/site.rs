//! The application of the suite `http`: the same routes and the same answers in axum and in actix-web. Each request for
//! the catalogue writes it as JSON anew, as an application does whose answers differ.
use std::sync::LazyLock;

use axum::Router;
use serde::Serialize;

/// Where the short answer is.
pub const HELLO: &str = "/hello";
/// The short answer.
pub const HELLO_TEXT: &str = "Hello, World!";
/// Where the catalogue is.
pub const CATALOGUE: &str = "/catalogue";
/// How long the catalogue is as JSON, in bytes.
pub const CATALOGUE_LENGTH: usize = 10 * 1024;

const ITEMS: u32 = 60;

static ALL: LazyLock<Catalogue> = LazyLock::new(Catalogue::make);

/// What is for sale.
#[derive(Debug, Serialize)]
pub struct Catalogue {
    items: Vec<Item>,
    /// As long as it takes to make the whole as long as it is to be.
    remark: String,
}

#[derive(Debug, Serialize)]
struct Item {
    id: u32,
    name: String,
    tags: [&'static str; 3],
    price_in_cents: u32,
    in_stock: bool,
    description: String,
}

impl Catalogue {
    fn make() -> Self {
        let items = (0..ITEMS).map(Item::make).collect();
        let mut all = Self { items, remark: String::new() };
        all.remark = "-".repeat(CATALOGUE_LENGTH.saturating_sub(all.json().len()));
        all
    }

    /// As every answer has it.
    ///
    /// # Panics
    /// Never: it has no key that is no text.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("all keys are texts")
    }
}

impl Item {
    fn make(nth: u32) -> Self {
        Self {
            id: 1000 + nth,
            name: format!("Item {nth}"),
            tags: ["new", "sale", "heavy"],
            price_in_cents: 995 + 10 * nth,
            in_stock: !nth.is_multiple_of(3),
            description: format!("The {nth}th of \"our\" things, good for many years."),
        }
    }
}

/// The catalogue, made once.
pub fn catalogue() -> &'static Catalogue {
    &ALL
}

/// The application in axum.
pub fn router() -> Router {
    use axum::Json;
    use axum::routing::get;

    Router::new().route(HELLO, get(async || HELLO_TEXT)).route(CATALOGUE, get(async || Json(catalogue())))
}

/// The application in actix-web.
pub fn configure(app: &mut actix_web::web::ServiceConfig) {
    use actix_web::web::{Json, get};

    app.route(HELLO, get().to(async || HELLO_TEXT)).route(CATALOGUE, get().to(async || Json(catalogue())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_as_long_as_it_is_said_to_be() {
        assert_eq!(catalogue().json().len(), CATALOGUE_LENGTH);
        // Most of it is what an application would say.
        assert!(catalogue().remark.len() < CATALOGUE_LENGTH / 20, "{}", catalogue().remark.len());
    }
}
