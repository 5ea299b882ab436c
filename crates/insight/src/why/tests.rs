use super::*;
use crate::critical_path::testing::{TraceBuilder, kind::*};

/// What one request's parts take, in milliseconds.
#[derive(Clone, Copy)]
struct Request {
    entry: &'static str,
    own: u64,
    edge: u64,
    remote: u64,
    database: u64,
}

const USUAL: Request = Request { entry: "GET /cart", own: 10, edge: 2, remote: 15, database: 5 };

/// api ──edge──▶ stock ──▶ its database, with some jitter that depends on the id.
fn request(id: u64, request: Request) -> Trace {
    let jitter = (id + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 44;
    let [own, edge, remote, database] =
        [request.own, request.edge, request.remote, request.database].map(|millis| millis * 1_000_000 + jitter);
    let start = 1_700_000_000_000_000_000 + id * 1_000_000_000;
    let mut builder = TraceBuilder::new(u128::from(id) + 1);
    let root = builder.span(0, "api", request.entry, SERVER, start, start + own + 2 * edge + remote + database);
    let call = builder.span(root, "api", "GET", CLIENT, start + own, start + own + 2 * edge + remote + database);
    let serve_start = start + own + edge;
    let serve = builder.span(call, "stock", "GET /items", SERVER, serve_start, serve_start + remote + database);
    builder.span(serve, "stock", "SELECT items", CLIENT, serve_start + remote, serve_start + remote + database);
    builder.build()
}

fn requests(ids: std::ops::Range<u64>, what: Request) -> Vec<Trace> {
    ids.map(|id| request(id, what)).collect()
}

fn slow_against_usual(slow: Request) -> Why {
    why(&requests(100..120, slow), &requests(0..50, USUAL), &Options::default())
}

#[test]
fn a_slow_database_is_named_with_who_waits_for_it() {
    let why = slow_against_usual(Request { database: 2_000, ..USUAL });
    let first = &why.findings[0];
    assert!(why.significant && first.significant);
    assert_eq!((first.kind, &*first.service, &*first.operation), (FindingKind::External, "stock", "SELECT items"));
    assert!(first.share > 0.99 && first.edge.is_none());
    assert!((first.added_nanos - 1_995_000_000).abs() < 2_000_000, "{}", first.added_nanos);
    assert_eq!(first.examples.len(), 3);
    assert!(first.examples.iter().all(|id| *id > TraceId::from_u128(100)));
    assert!(first.normal_examples.iter().all(|id| *id <= TraceId::from_u128(50)));
    assert!(why.summary.contains("stock waiting for SELECT items"), "{}", why.summary);
    assert_eq!((why.slow.traces, why.normal.traces), (20, 50));
}

#[test]
fn a_services_own_slowness_is_named() {
    let why = slow_against_usual(Request { remote: 300, ..USUAL });
    let first = &why.findings[0];
    assert_eq!((first.kind, &*first.service, &*first.operation), (FindingKind::SelfTime, "stock", "GET /items"));
    assert!(why.significant && first.share > 0.98);
}

#[test]
fn a_delay_between_services_is_put_on_the_edge() {
    let why = slow_against_usual(Request { edge: 100, ..USUAL });
    let first = &why.findings[0];
    assert_eq!(first.kind, FindingKind::Edge);
    assert_eq!(first.edge, Some(Edge { from: "api".to_owned(), to: "stock".to_owned() }));
    assert_eq!((&*first.service, &*first.operation), ("stock", "GET /items"));
    assert!(why.significant && first.share > 0.98);
}

#[test]
fn a_changed_mix_of_requests_is_not_a_slowdown() {
    let report = Request { entry: "GET /report", own: 900, ..USUAL };
    let slow = [requests(0..50, report), requests(50..60, USUAL)].concat();
    let normal = [requests(100..110, report), requests(110..160, USUAL)].concat();
    let why = why(&slow, &normal, &Options::default());
    assert!(!why.significant, "{}", why.summary);
    assert!(why.added_nanos.abs() < 1_000_000);
}

#[test]
fn an_entry_without_normal_traces_is_left_out_and_that_is_said() {
    let report = Request { entry: "GET /report", own: 900, ..USUAL };
    let slow = [requests(0..5, report), requests(50..70, USUAL)].concat();
    let why = why(&slow, &requests(110..160, USUAL), &Options::default());
    assert!(!why.significant, "{}", why.summary);
    assert!(why.caveats.iter().any(|caveat| caveat.starts_with("5 slow traces were left out")), "{:?}", why.caveats);
}

#[test]
fn nothing_significant_is_an_answer() {
    let why = why(&requests(100..150, USUAL), &requests(0..50, USUAL), &Options::default());
    assert!(!why.significant);
    assert!(why.findings.iter().all(|finding| !finding.significant), "{:?}", why.findings);
    assert!(why.summary.starts_with("Nothing "), "{}", why.summary);
}

#[test]
fn too_few_traces_are_never_significant_but_still_answered() {
    let slow = requests(100..102, Request { database: 2_000, ..USUAL });
    let why = why(&slow, &requests(0..50, USUAL), &Options::default());
    assert!(!why.significant && !why.findings[0].significant);
    assert_eq!(why.findings[0].operation, "SELECT items");
    assert!(why.caveats[0].starts_with("Only 2 slow traces"), "{:?}", why.caveats);
    assert!(why.summary.starts_with("Too few traces"), "{}", why.summary);
}

#[test]
fn nothing_to_compare_is_said() {
    let options = Options::default();
    assert_eq!(why(&[], &[], &options).summary, "There are no traces to compare.");
    assert_eq!(why(&requests(0..9, USUAL), &[], &options).summary, "There are no normal traces to compare with.");
    assert!(why(&[], &requests(0..9, USUAL), &options).findings.is_empty());
}

fn study(slow: &[Trace], normal: &[Trace]) -> study::Study {
    let mut survey = Survey::default();
    slow.iter().for_each(|trace| survey.add_trace(trace));
    survey.begin_baseline();
    normal.iter().for_each(|trace| survey.add_trace(trace));
    survey.study()
}

#[test]
fn what_places_added_is_the_whole_difference() {
    let slow = requests(100..120, Request { own: 80, edge: 1, remote: 40, database: 3, ..USUAL });
    let normal = requests(0..50, USUAL);
    let added = study(&slow, &normal).added();
    let sum: f64 = added.iter().map(|added| added.slower_nanos + added.more_often_nanos).sum();
    let why = why(&slow, &normal, &Options::default());
    assert!((sum - why.added_nanos as f64).abs() < 2.0, "{sum} against {}", why.added_nanos);
    assert!(added.iter().any(|added| added.slower_nanos < 0.0), "what got faster counts too");
    assert!(added.iter().all(|added| added.more_often_nanos.abs() < 1.0), "nothing is called more often");
}

/// gate calls a and s; s calls t and u. Every edge takes what `edge` says, in milliseconds.
fn mesh(id: u64, edge: impl Fn(&str, &str) -> u64) -> Trace {
    let mut builder = TraceBuilder::new(u128::from(id) + 1);
    let calls = [("gate", "a", 0), ("gate", "s", 100), ("s", "t", 120), ("s", "u", 140)];
    let millis = |millis: u64| 1_700_000_000_000_000_000 + id * 10_000_000_000 + millis * 1_000_000 + id % 7 * 1_000;
    // Times are laid out with room: each call has 20 ms of callee and what the edge takes after it.
    let root = builder.span(0, "gate", "GET /", SERVER, millis(0), millis(9_000));
    let mut parents = std::collections::HashMap::from([("gate", root)]);
    let mut now = 0;
    for (from, to, _) in calls {
        let length = if to == "s" { 3_000 } else { 20 };
        let call = builder.span(parents[from], from, "GET", CLIENT, millis(now), millis(now + length + edge(from, to)));
        let serve = builder.span(call, to, "serve", SERVER, millis(now), millis(now + length));
        parents.insert(to, serve);
        now += if to == "s" { 10 } else { 20 + edge(from, to) };
    }
    builder.build()
}

#[test]
fn a_service_whose_every_edge_is_slow_is_the_one_to_look_at() {
    let normal: Vec<_> = (0..30).map(|id| mesh(id, |_, _| 1)).collect();
    let slow: Vec<_> = (40..60).map(|id| mesh(id, |from, to| if from == "s" || to == "s" { 200 } else { 1 })).collect();
    let why = why(&slow, &normal, &Options { min_change: 0.0, ..Options::default() });
    let first = why.findings.iter().find(|finding| finding.kind == FindingKind::Edge).unwrap();
    assert_eq!(first.service, "s");
    assert!(first.sentence.contains("on 3 edges"), "{}", first.sentence);
    assert!((first.added_nanos - 3 * 199_000_000).abs() < 1_000_000, "{}", first.added_nanos);
}

#[test]
fn a_single_slow_edge_is_blamed_on_the_callee() {
    let normal: Vec<_> = (0..30).map(|id| mesh(id, |_, _| 1)).collect();
    let slow: Vec<_> = (40..60).map(|id| mesh(id, |_, to| if to == "u" { 200 } else { 1 })).collect();
    let why = why(&slow, &normal, &Options { min_change: 0.0, ..Options::default() });
    let first = why.findings.iter().find(|finding| finding.kind == FindingKind::Edge).unwrap();
    assert_eq!(first.service, "u");
    assert_eq!(first.edge, Some(Edge { from: "s".to_owned(), to: "u".to_owned() }));
}

#[test]
fn explain_finds_the_slow_traces_by_itself() {
    let all = [requests(0..40, USUAL), requests(40..50, Request { database: 2_000, ..USUAL })].concat();
    let why = explain(&all, &Options::default());
    assert!(why.significant);
    assert_eq!((why.slow.traces, why.normal.traces), (10, 40));
    assert_eq!((&*why.findings[0].service, why.findings[0].kind), ("stock", FindingKind::External));
}

#[test]
fn a_gateway_with_one_operation_is_looked_behind() {
    let through_gateway = |id: u64, behind: &str, millis: u64| {
        let mut builder = TraceBuilder::new(u128::from(id) + 1);
        let end = millis * 1_000_000 + id;
        let root = builder.span(0, "gateway", "/*", SERVER, 0, end);
        let call = builder.span(root, "gateway", "POST", CLIENT, 1, end - 1);
        builder.span(call, "shop", behind, SERVER, 2, end - 2);
        builder.build()
    };
    // Many more orders than before, and orders always took longer.
    let slow: Vec<_> = (0..40)
        .map(|id| if id < 30 { through_gateway(id, "/order", 900) } else { through_gateway(id, "/look", 10) })
        .collect();
    let normal: Vec<_> = (50..90)
        .map(|id| if id < 60 { through_gateway(id, "/order", 900) } else { through_gateway(id, "/look", 10) })
        .collect();
    let why = why(&slow, &normal, &Options::default());
    assert!(!why.significant && why.added_nanos.abs() < 1_000_000, "{}", why.summary);
}
