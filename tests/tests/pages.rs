//! The pages of the examples do in a browser what they are to do, also when their workers are replaced. Without a Chromium
//! on the machine the tests say so, and nothing is tried.
use nix::sys::signal::Signal;

use cluster_tests::browser::Browser;
use cluster_tests::{Process, examples, signal};

fn reload(app: &Process) {
    let seen = app.wait_for_line("all-ready", 0).unwrap();
    signal(app.pid(), Signal::SIGHUP).unwrap();
    app.wait_for_line("reloaded", seen).unwrap();
}

/// Types a text into the page of the chat, and sends it off.
fn say(page: &mut Browser, text: &str) {
    page.eval(&format!("$('text').value = {text:?}; document.querySelector('form').requestSubmit()"));
}

/// What the page shows, the first first.
const SHOWN: &str =
    "[...document.querySelectorAll('#said li')].map(line => line.textContent).reverse().join()";

#[test]
fn two_browsers_chat_through_a_reload() {
    let app = examples::start("axum_websocket_chat");
    let url = format!("http://{}/", app.addr());
    let Some(mut one) = Browser::open(&url) else { return };
    let Some(mut two) = Browser::open(&url) else { return };
    for page in [&mut one, &mut two] {
        page.until("$('state').textContent === 'connection 1'");
    }
    say(&mut one, "one <b>");
    two.until(&format!("{SHOWN} === 'one <b>'"));
    say(&mut two, "two");
    one.until(&format!("{SHOWN} === 'one <b>,two'"));
    reload(&app);
    for page in [&mut one, &mut two] {
        page.until("/^connection [2-9]/.test($('state').textContent)");
    }
    say(&mut one, "three");
    for page in [&mut one, &mut two] {
        page.until(&format!("{SHOWN} === 'one <b>,two,three'"));
        page.until("document.querySelectorAll('.unheard').length === 0");
    }
    drop((one, two));
    assert!(app.stop().unwrap().success());
}

#[test]
fn the_ticks_go_on_in_a_browser_through_a_reload() {
    let app = examples::start("axum_sse");
    let Some(mut page) = Browser::open(&format!("http://{}/", app.addr())) else { return };
    page.until("connections === 1 && last > 0");
    reload(&app);
    page.until("connections > 1");
    let last = page.eval("last").as_u64().unwrap();
    page.until(&format!("last > {}", last + 5));
    assert_eq!(page.eval("missed"), 0);
    drop(page);
    assert!(app.stop().unwrap().success());
}
