use super::*;

fn from(variables: &[(&str, &str)]) -> Config {
    Config::from_lookup("gallery", |name| {
        variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
    })
}

fn text<'a>(config: &'a Config, key: &str) -> Option<&'a str> {
    config.resource.get(key).and_then(Value::as_str)
}

#[test]
fn the_environment_overrules_the_defaults_and_code_the_environment() {
    let config = from(&[
        ("OTEL_SERVICE_NAME", "from-env"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=overruled, service.version=1.2,team=a%2Cb,"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20dXNlcjpwYXNz"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
    ]);
    assert_eq!(text(&config, "service.name"), Some("from-env"));
    assert_eq!(text(&config, "service.version"), Some("1.2"));
    assert_eq!(text(&config, "team"), Some("a,b"));
    assert_eq!(text(&config, "telemetry.sdk.name"), Some("tracewell"));
    assert_eq!(format!("{:?}", config.sampler), "parent_based(probabilistic(0.25))");
    assert_eq!(config.url(), "http://collector:4318/v1/traces");
    assert_eq!(config.headers, [("authorization".to_owned(), "Basic dXNlcjpwYXNz".to_owned())]);
    assert_eq!(config.export_timeout, Duration::from_millis(2500));
    assert!(!format!("{config:?}").contains("dXNl"), "credentials are not printed");
    let config = config.service_name("code").endpoint("http://other:1");
    assert_eq!(text(&config, "service.name"), Some("code"));
    assert_eq!(config.url(), "http://other:1/v1/traces");
}

#[test]
fn without_an_environment_the_given_name_and_the_local_receiver_count() {
    let config = from(&[("OTEL_SERVICE_NAME", "  "), ("OTEL_EXPORTER_OTLP_ENDPOINT", "")]);
    assert_eq!(text(&config, "service.name"), Some("gallery"));
    assert_eq!(config.url(), "http://localhost:4318/v1/traces");
    let instance = text(&config, "service.instance.id").unwrap();
    assert_eq!(instance.len(), 36);
    assert_ne!(Some(instance), text(&from(&[]), "service.instance.id"));
}

#[test]
fn the_endpoint_for_traces_is_used_as_it_is() {
    let config = from(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:2/custom"),
    ]);
    assert_eq!(config.url(), "http://b:2/custom");
}

#[test]
fn a_disabled_sdk_starts_whatever_else_is_wrong() {
    for (name, value) in [("OTEL_SDK_DISABLED", "TRUE"), ("OTEL_TRACES_EXPORTER", "none")] {
        let config = from(&[(name, value), ("OTEL_TRACES_SAMPLER", "nonsense")]);
        assert!(crate::Tracer::new(config).is_ok());
    }
    assert!(!from(&[("OTEL_SDK_DISABLED", "1")]).disabled, "only `true` disables");
}

/// What the environment is warned of.
fn problems(variables: &[(&str, &str)]) -> Vec<String> {
    let config = from(variables);
    [config.problems, config.exporter_problems].concat()
}

#[test]
fn who_has_an_exporter_of_his_own_is_not_warned_of_what_ours_does_not_understand() {
    let variables = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "lzma")];
    assert_eq!(problems(&variables).len(), 2);
    let config = from(&variables).strict().exporter(crate::InMemoryExporter::new());
    assert!(crate::Tracer::new(config).is_ok());
}

#[test]
fn what_is_not_understood_is_named_and_ignored_or_refused_when_strict() {
    for (name, value) in [
        ("OTEL_SDK_DISABLED", "1"),
        ("OTEL_TRACES_SAMPLER", "nonsense"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote"),
        ("OTEL_PROPAGATORS", "tracecontext,xray"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a,novalue"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=x"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=x"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "-1"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://collector"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "yes"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "long"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "-5"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "999999999"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "many"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "-1"),
        ("OTEL_CONFIG_FILE", "/otel.yaml"),
    ] {
        let problems = problems(&[(name, value)]);
        assert_eq!(problems.iter().filter(|problem| problem.contains(name)).count(), 1, "{name}={value}: {problems:?}");
        let quiet = |config: Config| config.exporter(crate::InMemoryExporter::new());
        assert!(
            crate::Tracer::new(quiet(from(&[(name, value), ("OTEL_LOG_LEVEL", "none")]))).is_ok(),
            "{name}={value}"
        );
        let error = crate::Tracer::new(from(&[(name, value)]).strict()).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    assert!(problems(&[("OTEL_SDK_DISABLED", "False"), ("OTEL_TRACES_EXPORTER", "otlp , console")]).is_empty());
}

#[test]
fn what_is_ignored_leaves_the_rest_as_it_was_meant() {
    let config = from(&[("OTEL_RESOURCE_ATTRIBUTES", "team=shop,broken,a=b"), ("OTEL_PROPAGATORS", "xray,b3")]);
    assert_eq!((text(&config, "team"), text(&config, "a")), (Some("shop"), Some("b")));
    assert_eq!(config.propagators, Propagators::B3);
    assert_eq!(from(&[("OTEL_PROPAGATORS", "xray")]).propagators, Propagators::default());
    for argument in ["2", "50%", "nan"] {
        let config = from(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", argument)]);
        assert_eq!(format!("{:?}", config.sampler), "probabilistic(1)");
        assert!(config.problems[0].contains("OTEL_TRACES_SAMPLER_ARG"), "{:?}", config.problems);
    }
    let several = from(&[("OTEL_TRACES_EXPORTER", "zipkin,console")]);
    assert_eq!((several.otlp, several.console), (false, true));
    let several = from(&[("OTEL_TRACES_EXPORTER", "otlp,console")]);
    assert_eq!((several.otlp, several.console), (true, true));
}

#[test]
fn limits_batches_and_files_are_honoured() {
    let config = from(&[
        ("OTEL_BSP_SCHEDULE_DELAY", "5000"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "30000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "1000"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "10"),
        ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "11"),
        ("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "12"),
        ("OTEL_SPAN_EVENT_COUNT_LIMIT", "13"),
        ("OTEL_SPAN_LINK_COUNT_LIMIT", "0"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
    ]);
    assert_eq!(config.export_interval, Duration::from_secs(5));
    assert_eq!(config.retry.max_elapsed, Some(Duration::from_secs(30)));
    assert_eq!((config.max_queue_spans, config.max_batch_spans), (1000, 100));
    let limits = config.limits;
    assert_eq!((limits.tags, limits.event_tags, limits.value_chars, limits.events, limits.links), (11, 10, 12, 13, 0));
    assert_eq!(config.export_timeout, Duration::ZERO);
    let insecure = |value| {
        from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"), ("OTEL_EXPORTER_OTLP_INSECURE", value)]).url()
    };
    assert_eq!(insecure("true"), "http://collector:4318/v1/traces");
}

#[test]
fn an_endpoint_may_have_a_query_and_loses_its_fragment() {
    for (endpoint, expected) in [
        ("http://a:1/api?token=b", "http://a:1/api/v1/traces?token=b"),
        ("http://a:1?token=b", "http://a:1/v1/traces?token=b"),
        ("http://a:1/api/#x", "http://a:1/api/v1/traces"),
        ("http://a:1/base/", "http://a:1/base/v1/traces"),
    ] {
        assert_eq!(from(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]).url(), expected);
    }
}

#[test]
fn warnings_say_what_will_happen_and_no_secret() {
    let grpc = [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4317")];
    assert!(problems(&grpc)[0].contains("nothing will arrive"), "{:?}", problems(&grpc));
    let secrets = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://user:SECRET@collector:4317?key=SECRET"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer SECRET,SECRET,x-key=SECRET%0A"),
        ("OTEL_RESOURCE_ATTRIBUTES", "SECRET"),
    ];
    let config = from(&secrets);
    assert_eq!(config.problems.len(), 5, "{:?}", config.problems);
    assert!(!format!("{config:?} {:?}", config.problems).contains("SECRET"), "{:?}", config.problems);
    assert!(config.headers.is_empty(), "credentials are for the receiver that was meant");
}

#[test]
fn what_is_wrong_in_code_is_an_error() {
    for endpoint in ["collector:4318", "ftp://collector", "", "http://", "grpc://x:1"] {
        let error = crate::Tracer::new(Config::new("x").traces_endpoint(endpoint)).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{endpoint}: {error}");
    }
}

/// The names in the first column of the tables under a heading.
fn documented(heading: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/environment-variables.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split(heading).nth(1).unwrap().split("\n## ").next().unwrap().to_owned();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap().to_owned());
    let mut names: Vec<String> =
        cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect();
    names.sort();
    names
}

#[test]
fn every_variable_that_is_read_is_documented_and_no_other() {
    let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let _ = Config::from_lookup("x", |name| {
        read.borrow_mut().insert(name.to_owned());
        // So that the ones that depend on another are asked for, too.
        (name == "OTEL_TRACES_SAMPLER").then(|| "traceidratio".to_owned())
    });
    let read: Vec<String> = read.into_inner().into_iter().collect();
    let [honoured, refused] = ["\n## Honoured\n", "\n## Not supported\n"].map(documented);
    let warned: Vec<&String> = refused.iter().filter(|name| read.contains(name)).collect();
    assert_eq!(warned.len(), 2, "those that have a warning of their own: {warned:?}");
    let expected: Vec<String> = read.iter().filter(|name| !warned.contains(name)).cloned().collect();
    assert_eq!(honoured, expected);
}
