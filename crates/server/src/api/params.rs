//! Query parameters, read strictly: one that is unknown, repeated or malformed is named in the error.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use tracewell_model::{StatusCode, TimeRange};
use tracewell_query::Conditions;

use super::error::ApiError;
use super::missing::PARTIAL;
use super::time::{parse_duration, parse_moment};

const HOUR_NANOS: u64 = 3_600_000_000_000;

/// More parameters than any call has a use for.
const MOST: usize = 200;

/// The parameters of a request that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| ApiError { field: None, ..ApiError::invalid("", error.to_string()) })?;
        if pairs.len() > MOST {
            return Err(ApiError { field: None, ..ApiError::invalid("", format!("more than {MOST} parameters")) });
        }
        let mut params = Self(pairs);
        // What is accepted of the answer is for every call alike: see `missing`.
        params.parsed(PARTIAL, |text| match text {
            "true" | "false" => Ok(()),
            _ => Err(format!("{text:?} is neither true nor false")),
        })?;
        Ok(params)
    }
}

impl Params {
    /// Parameters written as people do, `service=cart operation="GET /cart"`: spaces between, quotes around what has some.
    pub(crate) fn of_words(text: &str) -> Result<Self, String> {
        let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
        for character in text.chars() {
            match character {
                '"' => is_quoted = !is_quoted,
                space if space.is_whitespace() && !is_quoted => words.push(std::mem::take(&mut word)),
                other => word.push(other),
            }
        }
        if is_quoted {
            return Err("a quote is not closed".to_owned());
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        if words.len() > MOST {
            return Err(format!("more than {MOST} conditions"));
        }
        let pair = |word: &String| match word.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(format!("{word:?} is not of the form name=value")),
        };
        words.iter().map(pair).collect::<Result<_, _>>().map(Self)
    }

    /// Every value of a parameter that may be repeated.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    /// The value of a parameter; one that is empty is one that is not given, as HTML forms send them.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(ApiError::invalid(name, format!("{name} is given {} times", values.len())));
        }
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    /// The value of a parameter, read by `parse`, whose error says what is wrong with it.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|message| ApiError::invalid(name, message))
    }

    /// A number from 1 to `most`.
    pub(crate) fn limit(&mut self, default: usize, most: usize) -> Result<usize, ApiError> {
        let parse = |text: &str| match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => Ok(limit),
            _ => Err(format!("{text:?} is not a number from 1 to {most}")),
        };
        Ok(self.parsed("limit", parse)?.unwrap_or(default))
    }

    /// A range of time from two parameters; by default the last hour up to now, or the hour before the end.
    pub(crate) fn time_range(&mut self, now_unix_nano: u64) -> Result<TimeRange, ApiError> {
        let start = self.parsed("start", |text| parse_moment(text, now_unix_nano))?;
        let end = self.parsed("end", |text| parse_moment(text, now_unix_nano))?.unwrap_or(now_unix_nano);
        range("start", start.unwrap_or(end.saturating_sub(HOUR_NANOS)), end)
    }

    /// The conditions on a span that `/traces` and its like take.
    pub(crate) fn conditions(&mut self) -> Result<Conditions, ApiError> {
        let conditions = Conditions {
            service: self.text("service")?,
            operation: self.text("operation")?,
            kind: self.parsed("kind", |text| text.parse())?,
            status: self.parsed("status", |text| text.parse::<StatusCode>())?,
            min_duration_nanos: self.parsed("min_duration", parse_duration)?,
            max_duration_nanos: self.parsed("max_duration", parse_duration)?,
            tags: self
                .all("tag")
                .iter()
                .filter(|tag| !tag.is_empty())
                .map(|tag| parse_tag(tag))
                .collect::<Result<_, _>>()?,
        };
        if let (Some(min), Some(max)) = (conditions.min_duration_nanos, conditions.max_duration_nanos)
            && min > max
        {
            return Err(ApiError::invalid("min_duration", "min_duration is longer than max_duration"));
        }
        Ok(conditions)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.0.first() {
            Some((name, _)) => Err(ApiError::invalid(name, format!("there is no parameter {name:?} here"))),
            None => Ok(()),
        }
    }
}

/// A range of which `start`, the parameter of that name, must not lie after the end.
pub(crate) fn range(name: &str, start: u64, end: u64) -> Result<TimeRange, ApiError> {
    if start > end {
        return Err(ApiError::invalid(name, format!("{name} is after {}", name.replace("start", "end"))));
    }
    Ok(TimeRange::new(start, end))
}

fn parse_tag(tag: &str) -> Result<(String, String), ApiError> {
    match tag.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(ApiError::invalid("tag", format!("{tag:?} is not of the form key=value"))),
    }
}
