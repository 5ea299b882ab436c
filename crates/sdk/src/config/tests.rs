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

#[test]
fn what_is_wrong_is_named() {
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "nonsense"),
        ("OTEL_RESOURCE_ATTRIBUTES", "novalue"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "=x"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zip"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
    ] {
        let error = crate::Tracer::new(from(&[(name, value)])).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
    let ratio = [("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    assert!(crate::Tracer::new(from(&ratio)).unwrap_err().to_string().contains("OTEL_TRACES_SAMPLER_ARG"));
    for endpoint in ["collector:4318", "ftp://collector", "", "http://", "grpc://x:1"] {
        let error = crate::Tracer::new(Config::new("x").traces_endpoint(endpoint)).unwrap_err();
        assert!(matches!(error, Error::Config(_)), "{endpoint}: {error}");
    }
}
