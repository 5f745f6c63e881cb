//! Metrics as text: Prometheus' exposition format, version 0.0.4. Pure: a survey in, a text out.
use std::fmt::{Display, Write};

use crate::counter::SUFFIX;
use crate::event::ListenerStatus;
use crate::metrics::{EXITS, SlotSurvey, Survey, Whole};

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes all metrics down. Each has its HELP and TYPE once, and its samples behind them.
pub(crate) fn text(survey: &Survey, counters: &[(String, u64)]) -> String {
    let mut page = Page(String::with_capacity(4096 + 1024 * survey.slots.len()));
    whole(&mut page, survey);
    workers(&mut page, &survey.slots);
    traffic(&mut page, &survey.slots);
    listeners(&mut page, &survey.listeners);
    for (name, sum) in counters {
        let metric = format!("{name}{SUFFIX}");
        let help = format!("The program's counter {name}, of all processes since the cluster began.");
        page.counter(&metric, &help, [(Labels::NONE, Some(*sum))]);
    }
    page.0
}

fn whole(page: &mut Page, survey: &Survey) {
    let Whole { started, generation, wanted, stopping, .. } = survey.whole;
    let ready: u64 = survey.slots.iter().map(|slot| u64::from(slot.serving)).sum();
    page.one(
        "cluster_start_time_seconds",
        "When the primary began, in seconds since 1970.",
        Seconds::millis(started),
    );
    page.one(
        "cluster_generation",
        "Which run of main new workers are from; a reload makes the next.",
        generation,
    );
    page.one("cluster_workers_wanted", "Workers that there are meant to be.", wanted);
    page.one("cluster_workers_ready", "Workers that serve.", ready);
    page.one("cluster_stopping", "1 while the cluster stops, else 0.", u8::from(stopping));
    let Whole { reloads, failed_reloads, fork_servers_lost, director_exits, exits, .. } = survey.whole;
    page.counter(
        "cluster_reloads_total",
        "Reloads that are over, by their result.",
        [
            (Labels::of("result", "done"), Some(reloads)),
            (Labels::of("result", "failed"), Some(failed_reloads)),
        ],
    );
    page.counter(
        "cluster_worker_exits_total",
        "Workers that have ended, by the reason.",
        EXITS.into_iter().zip(exits).map(|(reason, count)| (Labels::of("reason", reason), Some(count))),
    );
    page.counter(
        "cluster_director_exits_total",
        "Directors that have ended, for whatever reason.",
        [(Labels::NONE, Some(director_exits))],
    );
    page.counter(
        "cluster_fork_server_losses_total",
        "Fork servers that have ended unasked.",
        [(Labels::NONE, Some(fork_servers_lost))],
    );
}

/// A metric that each slot has: its name, its help, and where its value is.
type OfSlot<V> = (&'static str, &'static str, fn(&SlotSurvey) -> V);

fn workers(page: &mut Page, slots: &[SlotSurvey]) {
    let states = slots.iter().flat_map(|slot| {
        let states = [("starting", slot.starting), ("serving", slot.serving), ("draining", slot.draining)];
        states.map(|(state, count)| (Labels::of("slot", slot.slot).and("state", state), Some(count)))
    });
    page.gauge("cluster_worker_state", "Workers of the slot that are in this state.", states);
    let gauges: [OfSlot<Option<Value>>; 5] = [
        ("cluster_worker_full", "Workers of the slot that have their fill and take no connection.", |slot| {
            Some(slot.full.into())
        }),
        ("cluster_worker_generation", "The generation of the slot's newest worker.", |slot| {
            Some(slot.newest?.generation.into())
        }),
        ("cluster_worker_start_time_seconds", "When it was born, in seconds since 1970.", |slot| {
            Some(Seconds::millis(slot.newest?.started).into())
        }),
        (
            "cluster_worker_private_memory_bytes",
            "Memory that the slot's workers share with nobody.",
            |slot| Some(slot.private_memory?.into()),
        ),
        ("cluster_worker_loop_delay_seconds", "How late the runtime was when it was to turn last.", |slot| {
            Some(Seconds::nanos(slot.loop_delay?).into())
        }),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, slots.iter().map(|slot| (Labels::of("slot", slot.slot), value(slot))));
    }
    let restarts = slots.iter().map(|slot| (Labels::of("slot", slot.slot), Some(slot.restarts)));
    page.counter("cluster_worker_restarts_total", "Workers that the slot has had after its first.", restarts);
}

fn traffic(page: &mut Page, slots: &[SlotSurvey]) {
    let gauges: [OfSlot<u64>; 2] = [
        ("cluster_worker_connections_open", "Connections that are open.", |slot| slot.connections.open),
        (
            "cluster_worker_requests_in_flight",
            "Requests whose answers have not gone out to their end.",
            |slot| slot.in_flight,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, slots.iter().map(|slot| (Labels::of("slot", slot.slot), Some(value(slot)))));
    }
    let counters: [OfSlot<u64>; 6] = [
        ("cluster_worker_connections_total", "Connections that were accepted or claimed.", |slot| {
            slot.connections.total
        }),
        ("cluster_worker_requests_total", "Requests that were answered.", |slot| slot.requests),
        ("cluster_worker_offers_total", "Connections that the primary has offered.", |slot| {
            slot.connections.offered
        }),
        ("cluster_worker_offers_claimed_total", "Offers that were claimed.", |slot| slot.connections.claimed),
        ("cluster_worker_offers_revoked_total", "Offers that were taken back.", |slot| {
            slot.connections.revoked
        }),
        ("cluster_worker_rings_total", "How often workers were woken for a connection.", |slot| {
            slot.connections.rings
        }),
    ];
    for (name, help, value) in counters {
        page.counter(name, help, slots.iter().map(|slot| (Labels::of("slot", slot.slot), Some(value(slot)))));
    }
}

fn listeners(page: &mut Page, listeners: &[ListenerStatus]) {
    let labels = |(number, listener): (usize, &ListenerStatus)| {
        Labels::of("listener", &listener.address).and("number", number)
    };
    let all = || listeners.iter().enumerate();
    let queued = all().map(|at| (labels(at), at.1.queued));
    page.gauge("cluster_listener_queue_length", "Connections that nobody has accepted yet.", queued);
    let backlog = all().map(|at| (labels(at), at.1.backlog));
    page.gauge("cluster_listener_backlog", "Connections that may wait.", backlog);
    let refused = all().map(|at| (labels(at), Some(at.1.refused)));
    page.counter(
        "cluster_listener_refused_total",
        "Connections refused because no worker had room.",
        refused,
    );
}

/// The text as far as it is written.
struct Page(String);

impl Page {
    fn one(&mut self, name: &str, help: &str, value: impl Into<Value>) {
        self.gauge(name, help, [(Labels::NONE, Some(value))]);
    }

    /// Samples of what may rise and fall. One without a value is left out.
    fn gauge<V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, Option<V>)>,
    ) {
        self.family(name, help, "gauge", samples);
    }

    /// Samples of what only rises.
    fn counter<V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, Option<V>)>,
    ) {
        self.family(name, help, "counter", samples);
    }

    fn family<V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        samples: impl IntoIterator<Item = (Labels, Option<V>)>,
    ) {
        let mut samples = samples.into_iter().filter_map(|(labels, value)| Some((labels, value?))).peekable();
        if samples.peek().is_none() {
            return;
        }
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
        for (Labels(labels), value) in samples {
            let value: Value = value.into();
            match labels.is_empty() {
                true => self.line(format_args!("{name} {value}")),
                false => self.line(format_args!("{name}{{{labels}}} {value}")),
            }
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("memory takes it");
    }
}

/// `slot="0",state="serving"`.
struct Labels(String);

impl Labels {
    const NONE: Self = Self(String::new());

    fn of(name: &str, value: impl Display) -> Self {
        Self::NONE.and(name, value)
    }

    fn and(mut self, name: &str, value: impl Display) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        let value = escaped(&value.to_string());
        write!(self.0, "{name}=\"{value}\"").expect("memory takes it");
        self
    }
}

/// What ends a label's value early, or its line, is written otherwise.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '\\' => escaped.push_str(r"\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str(r"\n"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A sample's value.
enum Value {
    Count(u64),
    Seconds(Seconds),
}

/// A time as it is written: seconds, of which nothing is lost to rounding.
#[derive(Clone, Copy)]
struct Seconds {
    whole: u64,
    nanos: u64,
}

impl Seconds {
    fn millis(millis: u64) -> Self {
        Self { whole: millis / 1000, nanos: millis % 1000 * 1_000_000 }
    }

    fn nanos(nanos: u64) -> Self {
        Self { whole: nanos / 1_000_000_000, nanos: nanos % 1_000_000_000 }
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Count(count) => count.fmt(f),
            Value::Seconds(Seconds { whole, nanos: 0 }) => whole.fmt(f),
            Value::Seconds(Seconds { whole, nanos }) => {
                let digits = format!("{nanos:09}");
                write!(f, "{whole}.{}", digits.trim_end_matches('0'))
            }
        }
    }
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Value::Count(count)
    }
}

impl From<u32> for Value {
    fn from(count: u32) -> Self {
        Value::Count(count.into())
    }
}

impl From<u16> for Value {
    fn from(count: u16) -> Self {
        Value::Count(count.into())
    }
}

impl From<u8> for Value {
    fn from(count: u8) -> Self {
        Value::Count(count.into())
    }
}

impl From<Seconds> for Value {
    fn from(seconds: Seconds) -> Self {
        Value::Seconds(seconds)
    }
}

#[cfg(test)]
mod tests;
