use proptest::prelude::*;

use super::*;

fn operations(names: &Names, service: &str) -> Listed<Operation> {
    names.operations(Some(service), usize::MAX)
}

fn noisy(count: usize) -> Names {
    let mut names = Names::default();
    names.add_spans("zz-honest", 1);
    names.add_operation("zz-honest", "GET /", 1);
    names.add_key("zz-honest", AttributeScope::Span, "zz.key");
    for number in 0..count {
        names.add_operation("aa-noisy", &format!("GET /user/{number:07}"), 1);
        names.add_key("aa-noisy", AttributeScope::Span, &format!("user.{number:07}"));
    }
    names
}

#[test]
fn a_noisy_service_hides_no_other_and_what_is_left_out_is_told() {
    let mut view = Names::new(NameLimits::default());
    for _ in 0..3 {
        view.merge(&noisy(100_000));
    }
    let services = view.clone().services();
    assert_eq!(services.items, ["aa-noisy", "zz-honest"]);
    assert!(services.complete, "both are listed");
    let honest = operations(&view, "zz-honest");
    assert_eq!((honest.items.len(), honest.complete), (1, true));
    let own = operations(&view, "aa-noisy");
    assert_eq!((own.items.len(), own.complete), (1_000, false));
    assert_eq!(own.items[999].name, "GET /user/0000999", "the first in order are kept");
    let all = view.operations(None, 100);
    assert!(!all.complete && all.items.iter().any(|operation| operation.name == "GET /"), "each has its share");
    let keys = view.keys(100);
    assert!(!keys.complete && keys.items.iter().any(|(_, key)| key == "zz.key"), "each has its share");
}

#[test]
fn of_too_many_services_those_with_the_most_spans_are_kept() {
    let mut names = Names::new(NameLimits { services: 10, ..NameLimits::default() });
    names.add_spans("zz-honest", 5);
    for number in 0..1_000 {
        names.add_spans(&format!("aa-{number}"), 1);
    }
    let services = names.services();
    assert!(services.items.contains(&"zz-honest".to_owned()));
    assert_eq!((services.items.len(), services.complete), (10, false));
}

#[test]
fn of_very_many_services_each_that_is_listed_keeps_an_operation() {
    let mut stored = Names::default();
    for number in 0..30_000 {
        let service = format!("service-{number:05}");
        stored.add_spans(&service, 1);
        stored.add_operation(&service, &format!("GET /{number:05}"), 1);
        for (part, key) in [(0, "user.id"), (0, "http.route"), (1, "service.name"), (1, "host.name")] {
            stored.add_key(&service, SCOPES[part], key);
        }
        stored.add_key(&service, AttributeScope::Span, &format!("key-{number:05}"));
    }
    let mut view = Names::new(NameLimits::default());
    view.merge(&stored);
    let services = view.clone().services();
    assert_eq!((services.items.len(), services.complete), (10_000, false));
    for service in services.items.iter().step_by(997) {
        assert_eq!(operations(&view, service).items.len(), 1, "{service}");
    }
    let all = view.operations(None, 5_000);
    assert_eq!((all.items.len(), all.complete), (5_000, false));
    let keys = view.keys(5);
    assert!((1..=5).contains(&keys.items.len()) && !keys.complete, "{keys:?}");
}

#[test]
fn names_keep_to_their_bytes_however_long_they_are() {
    let limits = NameLimits { bytes: 100_000, ..NameLimits::default() };
    let mut names = Names::new(limits);
    names.add_operation("zz-honest", "GET /", 1);
    for number in 0..200 {
        names.add_operation("aa-noisy", &format!("{number}{}", "x".repeat(5_000)), 1);
        assert!(names.size_bytes() <= limits.bytes);
    }
    assert!(!operations(&names, "aa-noisy").complete);
    assert!(operations(&names, "zz-honest").complete);
    for number in 0..200 {
        names.add_spans(&format!("{number}{}", "x".repeat(5_000)), 1);
        assert!(names.size_bytes() <= limits.bytes);
    }
    assert!(!names.services().complete);
}

#[test]
fn segments_without_shares_are_read_and_are_cut_where_they_are_full() {
    let put = |out: &mut Vec<u8>, text: &str| {
        put_varint(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    };
    for (count, is_cut) in [(10, false), (MAX_UNSHARED, true)] {
        let mut bytes = vec![1];
        put(&mut bytes, "web");
        put_varint(&mut bytes, count as u64);
        for number in 0..count {
            put(&mut bytes, &number.to_string());
            bytes.push(1);
        }
        bytes.push(1);
        bytes.push(3);
        put(&mut bytes, "exception.type");
        let names = Names::get(&bytes).unwrap();
        assert_eq!(operations(&names, "web").complete, !is_cut);
        assert_eq!(names.keys(10).items, [(AttributeScope::Event, "exception.type".to_owned())]);
        assert!(names.has_event_key("exception.type"));
        assert_eq!(names.has_event_key("other"), is_cut, "what is cut may have any");
    }
}

proptest! {
    #[test]
    fn names_come_back_as_they_were_put(
        given in prop::collection::vec(("[a-c]{1,2}", "[a-e]{1,3}", 0u8..5, 0usize..PARTS, "[x-z]{1,2}", 0u64..9), 0..60),
    ) {
        let mut names = Names::default();
        for (service, name, kind, part, key, spans) in &given {
            names.add_spans(service, *spans);
            names.add_operation(service, name, *kind);
            names.add_key(service, SCOPES[*part], key);
        }
        let mut bytes = Vec::new();
        names.put(&mut bytes);
        prop_assert_eq!(Names::get(&bytes).unwrap(), names.clone());
        for cut in 0..bytes.len() {
            // Bytes that are cut off never panic.
            let _ = Names::get(&bytes[..cut]);
        }
        let mut merged = Names::default();
        merged.merge(&names);
        prop_assert_eq!(merged.services(), names.services());
    }

    #[test]
    fn shares_fit_and_none_is_smaller_than_need_be(lengths in prop::collection::vec(0usize..50, 1..20), limit in 20usize..300) {
        let (share, is_all) = fair_share(lengths.iter().copied(), limit);
        let total: usize = lengths.iter().map(|length| (*length).min(share)).sum();
        prop_assert!(total <= limit);
        if !is_all {
            let with_more: usize = lengths.iter().map(|length| (*length).min(share + 1)).sum();
            prop_assert!(with_more > limit);
        }
    }
}
