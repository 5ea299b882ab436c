//! Carriers of the usual kinds.

use super::{Extractor, Injector};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::collections::{BTreeMap, HashMap};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
static BAGGAGE: HeaderName = HeaderName::from_static("baggage");
static REQUEST_ID: HeaderName = HeaderName::from_static(super::REQUEST_ID);

const FEW_HEADERS: usize = 12;

/// Names that every request meets need not be checked for every request.
fn known(name: &str) -> Option<&'static HeaderName> {
    [&TRACEPARENT, &TRACESTATE, &BAGGAGE, &REQUEST_ID].into_iter().find(|known| known.as_str() == name)
}

impl Injector for HeaderMap {
    fn set(&mut self, name: &str, value: &str) {
        // What is injected is printable ASCII; anything else is better left out than passed on.
        let Ok(value) = HeaderValue::from_str(value) else { return };
        if let Some(name) = known(name) {
            self.insert(name, value);
        } else if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            self.insert(name, value);
        }
    }

    fn has(&self, name: &str) -> bool {
        self.contains_key(name)
    }
}

impl Extractor for HeaderMap {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(&'a str)) {
        let mut text = |value: &'a HeaderValue| value.to_str().into_iter().for_each(&mut *each);
        // Few headers are looked through faster than a name is hashed.
        if self.len() <= FEW_HEADERS {
            self.iter().filter(|(other, _)| other.as_str() == name).for_each(|(_, value)| text(value));
        } else {
            self.get_all(name).iter().for_each(text);
        }
    }

    fn all<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a str)) {
        self.iter().for_each(|(name, value)| {
            if let Ok(value) = value.to_str() {
                each(name.as_str(), value);
            }
        });
    }
}

macro_rules! map {
    ($($map:ty),*) => {
        $(
            impl Injector for $map {
                fn set(&mut self, name: &str, value: &str) {
                    self.retain(|other, _| !other.eq_ignore_ascii_case(name));
                    self.insert(name.to_owned(), value.to_owned());
                }

                fn has(&self, name: &str) -> bool {
                    self.keys().any(|other| other.eq_ignore_ascii_case(name))
                }
            }

            impl Extractor for $map {
                fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(&'a str)) {
                    let named = self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
                    named.for_each(|(_, value)| each(value));
                }

                fn all<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a str)) {
                    self.iter().for_each(|(name, value)| each(name, value));
                }
            }
        )*
    };
}

map!(HashMap<String, String>, BTreeMap<String, String>);

impl Injector for Vec<(String, String)> {
    fn set(&mut self, name: &str, value: &str) {
        self.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.push((name.to_owned(), value.to_owned()));
    }

    fn has(&self, name: &str) -> bool {
        self.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }
}

impl Extractor for Vec<(String, String)> {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(&'a str)) {
        self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).for_each(|(_, value)| each(value));
    }

    fn all<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a str)) {
        self.iter().for_each(|(name, value)| each(name, value));
    }
}

/// Headers of messages are bytes; `rskafka` has Kafka's like this.
impl Injector for BTreeMap<String, Vec<u8>> {
    fn set(&mut self, name: &str, value: &str) {
        self.retain(|other, _| !other.eq_ignore_ascii_case(name));
        self.insert(name.to_owned(), value.as_bytes().to_vec());
    }

    fn has(&self, name: &str) -> bool {
        self.keys().any(|other| other.eq_ignore_ascii_case(name))
    }
}

impl Extractor for BTreeMap<String, Vec<u8>> {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(&'a str)) {
        let named = self.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.filter_map(|(_, value)| std::str::from_utf8(value).ok()).for_each(each);
    }

    fn all<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a str)) {
        let texts = self.iter().filter_map(|(name, value)| Some((name, std::str::from_utf8(value).ok()?)));
        texts.for_each(|(name, value)| each(name, value));
    }
}
