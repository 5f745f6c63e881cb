//! Ten programs in the spirit of actix-web's own examples: `moved_actix PROGRAM ADDR`. Each was written for actix-web's own
//! server; what was changed is the line that says so.
mod basics;
mod error_handling;
mod form;
mod json;
mod middleware;
mod on_connect;
mod scopes;
mod shutdown;
mod state;
mod streaming;

fn main() -> std::io::Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("basics") => basics::main(),
        Some("scopes") => scopes::main(),
        Some("error_handling") => error_handling::main(),
        Some("form") => form::main(),
        Some("json") => json::main(),
        Some("middleware") => middleware::main(),
        Some("on_connect") => on_connect::main(),
        Some("shutdown") => shutdown::main(),
        Some("state") => state::main(),
        Some("streaming") => streaming::main(),
        _ => {
            eprintln!("usage: moved_actix PROGRAM ADDR");
            std::process::exit(2);
        }
    }
}

/// The address to listen on.
fn addr() -> String {
    std::env::args().nth(2).unwrap_or_else(|| "127.0.0.1:8080".to_owned())
}
