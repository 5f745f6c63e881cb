use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::Scheduling;
use crate::event::ConnectionCounts;
use crate::metrics::Newest;

fn survey() -> Survey {
    let connections = ConnectionCounts { open: 2, total: 9, ..ConnectionCounts::default() };
    let newest = Some(Newest { generation: 3, started: 1_700_000_000_250 });
    let busy = SlotSurvey {
        slot: 0,
        serving: 1,
        draining: 1,
        restarts: 4,
        newest,
        connections,
        requests: 70,
        in_flight: 1,
        loop_delay: Some(1_500_000),
        private_memory: Some(1 << 20),
        ..SlotSurvey::default()
    };
    let empty = SlotSurvey { slot: 1, requests: 5, ..SlotSurvey::default() };
    let listener = |address: &str, queued| ListenerStatus {
        address: address.to_owned(),
        scheduling: Scheduling::Shared,
        queued,
        backlog: queued.map(|_| 4096),
        refused: 6,
    };
    let mut exits = [0; EXITS.len()];
    exits[4] = 2;
    let whole = Whole { started: 1_700_000_000_000, generation: 3, wanted: 2, exits, ..Whole::default() };
    let listeners = vec![listener("127.0.0.1:3000", Some(1)), listener("unix:/a \"b\"\\c\nd", None)];
    Survey { whole, listeners, slots: vec![busy, empty] }
}

/// The value of each sample, by its name and labels; panics where the text is not in the format.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeSet::new());
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, said) = help.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect(help);
        assert!(!said.is_empty() && families.insert(name.to_owned()), "{name} is told twice");
        let kind = lines.next().and_then(|line| line.strip_prefix(&format!("# TYPE {name} "))).expect(name);
        assert!(["gauge", "counter"].contains(&kind), "{kind}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let before = samples.len();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let labels = series.strip_prefix(name).expect("samples are behind their family");
            assert!(labels.is_empty() || labels.starts_with('{') && labels.ends_with('}'), "{line}");
            let value: f64 = value.parse().expect(line);
            assert!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
        }
        assert!(samples.len() > before, "{name} has no sample");
    }
    assert!(text.ends_with('\n'));
    samples
}

#[test]
fn all_that_is_known_is_shown_once_and_in_the_format() {
    let samples = parse(&text(&survey(), &[("hits".to_owned(), 12)]));
    for (series, value) in [
        ("cluster_workers_wanted", 2.0),
        ("cluster_workers_ready", 1.0),
        ("cluster_stopping", 0.0),
        ("cluster_generation", 3.0),
        ("cluster_start_time_seconds", 1.7e9),
        ("cluster_worker_exits_total{reason=\"crashed\"}", 2.0),
        ("cluster_worker_state{slot=\"0\",state=\"serving\"}", 1.0),
        ("cluster_worker_state{slot=\"0\",state=\"draining\"}", 1.0),
        ("cluster_worker_state{slot=\"1\",state=\"serving\"}", 0.0),
        ("cluster_worker_restarts_total{slot=\"0\"}", 4.0),
        ("cluster_worker_start_time_seconds{slot=\"0\"}", 1_700_000_000.25),
        ("cluster_worker_connections_open{slot=\"0\"}", 2.0),
        ("cluster_worker_connections_total{slot=\"0\"}", 9.0),
        ("cluster_worker_requests_total{slot=\"1\"}", 5.0),
        ("cluster_worker_requests_in_flight{slot=\"0\"}", 1.0),
        ("cluster_worker_loop_delay_seconds{slot=\"0\"}", 0.0015),
        ("cluster_worker_private_memory_bytes{slot=\"0\"}", 1_048_576.0),
        ("cluster_listener_queue_length{listener=\"127.0.0.1:3000\",number=\"0\"}", 1.0),
        ("hits_total", 12.0),
    ] {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
}

#[test]
fn what_is_not_known_is_left_out() {
    let samples = parse(&text(&survey(), &[]));
    for family in ["private_memory_bytes", "loop_delay_seconds", "generation", "start_time_seconds"] {
        assert!(!samples.contains_key(&format!("cluster_worker_{family}{{slot=\"1\"}}")), "{family}");
    }
    assert!(
        samples.keys().all(|series| !series.starts_with("cluster_listener_queue_length{listener=\"unix"))
    );
    // A family of which nothing is known has no heading, either.
    let nothing = parse(&text(&Survey::default(), &[]));
    assert!(nothing.keys().all(|series| !series.contains("slot=")), "{nothing:?}");
}

#[test]
fn a_path_cannot_end_its_label() {
    let text = text(&survey(), &[]);
    let wanted = r#"cluster_listener_refused_total{listener="unix:/a \"b\"\\c\nd",number="1"} 6"#;
    assert!(text.lines().any(|line| line == wanted), "{text}");
}

#[test]
fn the_largest_numbers_are_written_in_full() {
    let slot = SlotSurvey { requests: u64::MAX, loop_delay: Some(u64::MAX), ..SlotSurvey::default() };
    let text = text(&Survey { slots: vec![slot], ..Survey::default() }, &[]);
    assert!(text.contains("cluster_worker_requests_total{slot=\"0\"} 18446744073709551615\n"));
    assert!(text.contains("cluster_worker_loop_delay_seconds{slot=\"0\"} 18446744073.709551615\n"));
}

#[test]
fn the_page_of_metrics_tells_of_each() {
    let page = include_str!("../../../../docs/metrics.md");
    for series in parse(&text(&survey(), &[])).keys() {
        let name = series.split('{').next().unwrap();
        assert!(page.contains(&format!("`{name}`")), "docs/metrics.md does not tell what {name} is");
    }
}
