use super::*;
use crate::{SpanId, TraceFlags, TraceId, TraceState};
use proptest::prelude::*;
use std::collections::HashMap;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn injected(context: &Context) -> Vec<(String, String)> {
    let mut carrier = Vec::new();
    inject(context, &mut carrier);
    carrier
}

#[test]
fn a_parent_is_read_whatever_the_case_of_its_header() {
    let context = extract(&headers(&[("TraceParent", PARENT), ("TRACESTATE", "a=1, b=2")]));
    let span = context.span_context();
    assert_eq!(span.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.span_id.to_string(), "b7ad6b7169203331");
    assert!(span.is_sampled() && span.is_remote);
    assert_eq!(span.trace_state.as_str(), "a=1,b=2");
    assert_eq!(span.trace_state.get("b"), Some("2"));
    assert_eq!(injected(&context), headers(&[("traceparent", PARENT), ("tracestate", "a=1,b=2")]));
}

#[test]
fn a_parent_that_the_specification_forbids_starts_a_new_trace() {
    for bad in [
        "",
        "00",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01more",
        "0-0af7651916cd43dd8448eb211c80319cc-b7ad6b7169203331-011",
        "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
        "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
        "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ü0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        let context = extract(&headers(&[("traceparent", bad), ("tracestate", "a=1")]));
        assert!(!context.span_context().is_valid(), "{bad}");
        assert!(context.span_context().trace_state.as_str().is_empty(), "{bad}");
    }
    let twice = headers(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    assert!(!extract(&twice).span_context().is_valid());
}

#[test]
fn a_parent_of_a_later_version_is_read_as_far_as_it_is_known() {
    for later in [
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-the-future-brings",
    ] {
        assert_eq!(injected(&extract(&headers(&[("traceparent", later)]))), headers(&[("traceparent", PARENT)]));
    }
    let unknown_flags = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff";
    assert_eq!(extract(&headers(&[("traceparent", unknown_flags)])).span_context().flags.to_byte(), 3);
}

#[test]
fn an_invalid_tracestate_is_dropped_and_the_parent_kept() {
    let many = (0..33).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    for bad in ["a", "=1", "a=", "A=1", "a=1,a=2", "a=1=2", "a=\u{e9}", many.as_str()] {
        let context = extract(&headers(&[("traceparent", PARENT), ("tracestate", bad)]));
        assert!(context.span_context().is_valid(), "{bad}");
        assert_eq!(context.span_context().trace_state.as_str(), "", "{bad}");
    }
    let fits = (0..32).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(TraceState::parse(&fits).as_str(), fits);
    let long = format!("a=1,b={0},c={0},d=4", "x".repeat(256));
    assert_eq!(
        TraceState::parse(&long).as_str(),
        format!("a=1,b={},d=4", "x".repeat(256)),
        "what does not fit is left out"
    );
}

#[test]
fn baggage_is_encoded_limited_and_independent_of_the_parent() {
    let context = extract(&headers(&[("baggage", "user=J%C3%BCrgen , bad, also bad=1,tier = gold;p=1;q , user=last")]));
    assert!(!context.span_context().is_valid());
    assert_eq!(context.baggage().iter().collect::<Vec<_>>(), [("user", "last"), ("tier", "gold")]);
    assert_eq!(injected(&context), headers(&[("baggage", "user=last,tier=gold;p=1;q")]));

    let mut baggage = Baggage::default();
    assert!(baggage.insert("k", "a b,c;d=e\"\\%ü") && !baggage.insert("not a token", "v") && !baggage.insert("", "v"));
    assert_eq!(baggage.to_header(), "k=a%20b%2Cc%3Bd=e%22%5C%25%C3%BC");
    assert_eq!(Baggage::parse(&baggage.to_header()), baggage);

    let mut full = Baggage::default();
    assert_eq!((0..70).filter(|n| full.insert(&format!("k{n}"), "v")).count(), Baggage::MAX_MEMBERS);
    assert!(full.insert("k1", "changed"));
    let mut large = Baggage::default();
    assert!(!large.insert("k", &"x".repeat(8191)) && large.insert("k", &"x".repeat(8190)));
    assert_eq!(large.to_header().len(), Baggage::MAX_BYTES);
}

#[test]
fn header_maps_and_hash_maps_carry_the_context() {
    let context = extract(&headers(&[("traceparent", PARENT), ("baggage", "a=1")]));
    let mut map = http::HeaderMap::new();
    map.insert("traceparent", http::HeaderValue::from_static("stale"));
    inject(&context, &mut map);
    assert_eq!(injected(&extract(&map)), injected(&context));
    let mut map = HashMap::from([("Traceparent".to_owned(), "stale".to_owned())]);
    inject(&context, &mut map);
    assert_eq!(map.len(), 2);
    assert_eq!(injected(&extract(&map)), injected(&context));
}

proptest! {
    #[test]
    fn any_span_context_survives_the_wire(trace in 1_u128.., span in 1_u64.., flags in 0_u8..4) {
        let sent = SpanContext {
            trace_id: TraceId::from_bytes(trace.to_be_bytes()),
            span_id: SpanId::from_bytes(span.to_be_bytes()),
            flags: TraceFlags::from_byte(flags),
            is_remote: true,
            trace_state: TraceState::default(),
        };
        let received = extract(&injected(&Context::new().with_span_context(sent.clone())));
        prop_assert_eq!(received.span_context(), &sent);
    }

    #[test]
    fn any_baggage_survives_the_wire(pairs in prop::collection::vec(("[a-zA-Z0-9!#$&'*+.^_`|~-]{1,20}", any::<String>()), 0..80)) {
        let mut sent = Baggage::default();
        for (key, value) in &pairs {
            sent.insert(key, value);
        }
        let header = sent.to_header();
        prop_assert!(header.len() <= Baggage::MAX_BYTES && sent.len() <= Baggage::MAX_MEMBERS);
        prop_assert_eq!(Baggage::parse(&header), sent);
    }

    #[test]
    fn no_header_panics_and_what_is_accepted_is_stable(parent in any::<String>(), state in any::<String>(), baggage in any::<String>()) {
        let once = injected(&extract(&headers(&[("traceparent", &parent), ("tracestate", &state), ("baggage", &baggage)])));
        prop_assert_eq!(injected(&extract(&once)), once);
    }

    #[test]
    fn no_damaged_header_panics_and_what_is_accepted_is_stable(at in 0..60_usize, with in "[ -~]{0,3}", state in "[a-c=, @]{0,40}", baggage in "[a-c=,;% 2]{0,40}") {
        let mut parent = PARENT.to_owned();
        parent.replace_range(at.min(parent.len())..(at + with.len()).min(parent.len()), &with);
        let once = injected(&extract(&headers(&[("traceparent", &parent), ("tracestate", &state), ("baggage", &baggage)])));
        prop_assert_eq!(injected(&extract(&once)), once);
    }
}

const B3: Propagators = Propagators::B3;

fn ids(context: &Context) -> (String, String) {
    (context.span_context().trace_id.to_string(), context.span_context().span_id.to_string())
}

#[test]
fn b3_is_understood_in_either_form_and_with_short_ids() {
    let whole = ("0af7651916cd43dd8448eb211c80319c".to_owned(), "b7ad6b7169203331".to_owned());
    let short = ("00000000000000008448eb211c80319c".to_owned(), "b7ad6b7169203331".to_owned());
    let single = |value: &str| B3.extract(&headers(&[("B3", value)]));
    assert_eq!(ids(&single("0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1-05e3ac9a4f6e3b90")), whole);
    assert_eq!(ids(&single("8448eb211c80319c-B7AD6B7169203331-d")), short);
    let sampled = |value: &str| single(value).span_context().is_sampled();
    assert!(sampled("8448eb211c80319c-b7ad6b7169203331-1") && sampled("8448eb211c80319c-b7ad6b7169203331-d"));
    assert!(!sampled("8448eb211c80319c-b7ad6b7169203331-0"));
    for bad in [
        "",
        "0",
        "1-",
        "8448eb211c80319c",
        "8448eb211c80319c-7-1",
        "0-b7ad6b7169203331-1",
        "+448eb211c80319c-b7ad6b7169203331",
    ] {
        assert!(!single(bad).span_context().is_valid(), "{bad}");
    }
    let multi = B3.extract(&headers(&[
        ("X-B3-TraceId", "0af7651916cd43dd8448eb211c80319c"),
        ("X-B3-SpanId", "b7ad6b7169203331"),
        ("X-B3-Sampled", "true"),
    ]));
    assert_eq!(ids(&multi), whole);
    assert!(multi.span_context().is_sampled());
}

#[test]
fn a_caller_that_leaves_the_decision_open_has_it_made_here() {
    let parent = B3.extract(&headers(&[("b3", "8448eb211c80319c-b7ad6b7169203331")]));
    for (sampler, expected) in [(crate::Sampler::always(), true), (crate::Sampler::never(), false)] {
        let config = crate::Config::new("test").exporter(crate::InMemoryExporter::new());
        let tracer = crate::Tracer::new(config.sampler(crate::Sampler::parent_based(sampler))).unwrap();
        let span = tracer.span("work").parent(&parent).start();
        assert_eq!(span.span_context().is_sampled(), expected);
        assert_eq!(span.span_context().trace_id, parent.span_context().trace_id);
        assert!(span.span_context().flags.to_byte() <= 1, "what is undecided is not sent");
    }
}

#[test]
fn jaegers_format_is_understood_with_its_baggage_and_without_its_zeros() {
    let carrier =
        headers(&[("Uber-Trace-Id", "af7651916cd43dd8448eb211c80319c:7ad6b7169203331:0:3"), ("uberctx-User", "a%20b")]);
    let context = Propagators::JAEGER.extract(&carrier);
    assert_eq!(ids(&context), ("0af7651916cd43dd8448eb211c80319c".to_owned(), "07ad6b7169203331".to_owned()));
    assert!(context.span_context().is_sampled());
    assert_eq!(context.baggage().get("user"), Some("a b"));
    let encoded = Propagators::JAEGER.extract(&headers(&[("uber-trace-id", "1%3A2%3A0%3A0")]));
    assert!(encoded.span_context().is_valid() && !encoded.span_context().is_sampled());
    for bad in ["", "1:2:0", "1:2:0:1:5", "0:2:0:1", "1:0:0:1", "x:2:0:1", "1:2:0:zz"] {
        assert!(!Propagators::JAEGER.extract(&headers(&[("uber-trace-id", bad)])).span_context().is_valid(), "{bad}");
    }
}

#[test]
fn what_is_sent_in_all_formats_is_read_back_from_each() {
    let all = Propagators::from_names("tracecontext, baggage,b3,b3multi,jaeger").unwrap();
    let context = extract(&headers(&[("traceparent", PARENT), ("baggage", "user=a%20b")]));
    let mut carrier: std::collections::BTreeMap<String, String> = Default::default();
    all.inject(&context, &mut carrier);
    let names: Vec<&str> = carrier.keys().map(String::as_str).collect();
    let expected = [
        "b3",
        "baggage",
        "traceparent",
        "uber-trace-id",
        "uberctx-user",
        "x-b3-sampled",
        "x-b3-spanid",
        "x-b3-traceid",
    ];
    assert_eq!(names, expected);
    for one in [Propagators::TRACE_CONTEXT, Propagators::B3, Propagators::B3_MULTI, Propagators::JAEGER] {
        let mut carrier = HashMap::new();
        one.inject(&context, &mut carrier);
        let back = one.extract(&carrier);
        assert_eq!(ids(&back), ids(&context), "{one:?}");
        assert!(back.span_context().is_sampled() && back.span_context().is_remote);
    }
    assert_eq!(Propagators::from_names("b3,xray"), Err("xray".to_owned()));
    let mut nothing = HashMap::new();
    Propagators::NONE.inject(&context, &mut nothing);
    assert!(nothing.is_empty());
}

proptest! {
    #[test]
    fn nothing_received_panics_in_any_format(value in "\\PC{0,80}", hex in "[0-9a-fA-F:%\\-]{0,80}") {
        let all = Propagators(0xff);
        for value in [value, hex] {
            for name in ["traceparent", "b3", "uber-trace-id", "x-b3-traceid", "x-b3-spanid", "uberctx-a", "baggage"] {
                let _ = all.extract(&vec![(name.to_owned(), value.clone())]);
            }
        }
    }
}

#[test]
fn headers_are_found_among_few_and_among_many() {
    for others in [0, 30] {
        let mut headers = http::HeaderMap::new();
        for n in 0..others {
            headers.insert(
                http::HeaderName::try_from(format!("x-other-{n}")).unwrap(),
                http::HeaderValue::from_static("1"),
            );
        }
        headers.insert("traceparent", http::HeaderValue::from_static(PARENT));
        headers.append("tracestate", http::HeaderValue::from_static("a=1"));
        headers.append("tracestate", http::HeaderValue::from_static("b=2"));
        let context = extract(&headers);
        assert_eq!(context.span_context().trace_state.as_str(), "a=1,b=2", "{others} others");
    }
}

#[test]
fn a_request_id_goes_along_in_every_carrier_unless_the_message_has_one() {
    let context = Context::new().with_request_id("r-42");
    let mut map = HashMap::from([("X-Request-Id".to_owned(), "own".to_owned())]);
    inject(&context, &mut map);
    assert_eq!(map, HashMap::from([("X-Request-Id".to_owned(), "own".to_owned())]));
    let mut bytes = std::collections::BTreeMap::<String, Vec<u8>>::new();
    inject(&context, &mut bytes);
    assert_eq!(bytes["x-request-id"], b"r-42");
    assert_eq!(extract(&bytes).request_id(), Some("r-42"));
    let mut headers = http::HeaderMap::new();
    inject(&context, &mut headers);
    inject(&Context::new().with_request_id("other"), &mut headers);
    assert_eq!(extract(&headers).request_id(), Some("r-42"));
    assert_eq!(injected(&context), [("x-request-id".to_owned(), "r-42".to_owned())]);
    // Whatever the formats are.
    assert_eq!(Propagators::NONE.extract(&injected(&context)).request_id(), Some("r-42"));
}

#[test]
fn a_request_id_that_is_not_fit_is_neither_taken_nor_sent_on() {
    for bad in ["", "a b", "ü", &"x".repeat(129)] {
        assert_eq!(extract(&headers(&[("x-request-id", bad)])).request_id(), None, "{bad}");
        assert_eq!(injected(&Context::new().with_request_id(bad)), [], "{bad}");
    }
    let known = Context::new().with_request_id("r-1").ensure_request_id();
    assert_eq!(known.request_id(), Some("r-1"));
    let made = Context::new().ensure_request_id();
    assert!(made.request_id().is_some_and(is_request_id), "{made:?}");
}
