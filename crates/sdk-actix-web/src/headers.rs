//! A request's headers, whose type is not the library's.

use actix_web::http::header::HeaderMap;
use tracewell::Extractor;

pub(crate) struct Headers<'a>(pub(crate) &'a HeaderMap);

impl Extractor for Headers<'_> {
    fn values<'a>(&'a self, name: &str, each: &mut dyn FnMut(&'a str)) {
        self.0.get_all(name).filter_map(|value| value.to_str().ok()).for_each(each);
    }

    fn all<'a>(&'a self, each: &mut dyn FnMut(&'a str, &'a str)) {
        let texts = self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        texts.for_each(|(name, value)| each(name, value));
    }
}
