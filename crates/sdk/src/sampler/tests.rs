use super::*;
use crate::{Config, Context, InMemoryExporter, TraceFlags, TraceState, Tracer};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn input(parent: &SpanContext, low: u64) -> SamplingInput<'_> {
    let trace_id = TraceId::from_bytes((u128::from(low) | 1 << 100).to_be_bytes());
    SamplingInput { parent, trace_id, name: "GET /health", kind: SpanKind::Server }
}

#[test]
fn the_share_travels_in_the_trace_state_and_whoever_drops_the_trace_takes_it_out() {
    let exporter = InMemoryExporter::new();
    let half =
        Tracer::new(Config::new("test").exporter(exporter.clone()).sampler(Sampler::probabilistic(0.5))).unwrap();
    let low = 0x00ff_0000_0000_0000_u64;
    let trace_id = TraceId::from_bytes((u128::from(low) | 1 << 100).to_be_bytes());
    let parent = Context::new().with_span_context(SpanContext {
        trace_id,
        span_id: crate::SpanId::random(),
        flags: TraceFlags::SAMPLED,
        is_remote: true,
        trace_state: TraceState::parse("a=1,ot=rv:ffffffffffffff,b=2"),
    });
    let span = half.span("work").parent(&parent).start();
    assert_eq!(span.span_context().trace_state.as_str(), "ot=th:8;rv:ffffffffffffff,a=1,b=2");
    assert_eq!(span.span_context().trace_state.sampling_threshold(), Some(WHOLE / 2));

    let never = Tracer::new(Config::new("test").exporter(exporter).sampler(Sampler::never())).unwrap();
    let dropped = never.span("work").parent(&span.context()).start();
    assert_eq!(dropped.span_context().trace_state.as_str(), "ot=rv:ffffffffffffff,a=1,b=2");
    assert!(!dropped.span_context().is_sampled());
}

#[test]
fn a_random_value_that_the_trace_brings_counts_instead_of_its_id() {
    let mut parent = SpanContext { trace_state: TraceState::parse("ot=rv:00000000000000"), ..SpanContext::default() };
    assert_eq!(Sampler::probabilistic(0.5).sample(&input(&parent, u64::MAX)), Decision::DROP);
    parent.trace_state = TraceState::parse("ot=rv:zz");
    assert!(Sampler::probabilistic(0.5).sample(&input(&parent, u64::MAX)).is_sampled);
}

proptest! {
    #[test]
    fn thresholds_are_read_as_they_were_written(threshold in 0..WHOLE) {
        let state = TraceState::parse("other=1").with_sampling_threshold(Some(threshold));
        prop_assert_eq!(state.sampling_threshold(), Some(threshold));
        let without = state.with_sampling_threshold(None);
        prop_assert_eq!(without.as_str(), "other=1");
    }

    #[test]
    fn services_with_different_shares_keep_whole_traces(low in any::<u64>(), a in 0.0..1.0, b in 0.0..1.0) {
        let parent = SpanContext::default();
        let sampled = |share| Sampler::probabilistic(share).sample(&input(&parent, low)).is_sampled;
        let (less, more) = if a < b { (a, b) } else { (b, a) };
        prop_assert!(!sampled(less) || sampled(more), "what the smaller share keeps the larger keeps too");
    }
}

#[test]
fn a_rate_limit_adapts_its_share_and_is_never_passed() {
    let limit = RateLimit::new(10.0);
    let parent = SpanContext::default();
    let mut random = 1_u64;
    let (mut last_second, mut weighed) = (0, 0.0);
    for second in 0..20 {
        (last_second, weighed) = (0, 0.0);
        for n in 0..1_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let decision = limit.sample(&input(&parent, random >> 8), second * SECOND + n * SECOND / 1_000);
            if let Decision { is_sampled: true, threshold: Some(threshold) } = decision {
                last_second += 1;
                weighed += WHOLE as f64 / (WHOLE - threshold) as f64;
            }
        }
        assert!(last_second <= 20, "{last_second} in second {second}");
    }
    assert!((3..=20).contains(&last_second), "{last_second}");
    assert!((300.0..=2_000.0).contains(&weighed), "they stand for about a thousand: {weighed}");
    assert_eq!(RateLimit::new(0.0).sample(&input(&parent, u64::MAX), 0), Decision::DROP);
    assert_eq!(RateLimit::new(f64::NAN).sample(&input(&parent, u64::MAX), 0), Decision::DROP);
}

#[test]
fn names_choose_their_sampler() {
    let parent = SpanContext::default();
    let by_name = |rules: [(&str, Sampler); 2], otherwise| Sampler::by_name(rules, otherwise);
    let sampled = |sampler: Sampler| sampler.sample(&input(&parent, 0)).is_sampled;
    let (yes, no) = (Sampler::always(), Sampler::never());
    assert!(!sampled(by_name([("GET /health", no.clone()), ("GET *", yes.clone())], yes.clone())));
    assert!(sampled(by_name([("GET /health/*", no.clone()), ("GET *", yes.clone())], no.clone())));
    assert!(sampled(by_name([("POST *", no.clone()), ("GET /healthy", no)], yes)));
}

#[test]
fn a_sampler_that_panics_records_nothing_and_breaks_nothing() {
    struct Panics;
    impl Sample for Panics {
        fn sample(&self, _input: &SamplingInput<'_>) -> Decision {
            std::panic::resume_unwind(Box::new("broken"))
        }
    }
    let exporter = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(exporter).sampler(Sampler::custom(Panics))).unwrap();
    let span = tracer.span("work").tag("a", 1).start();
    assert!(!span.is_recording());
}
