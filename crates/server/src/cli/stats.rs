//! `tracewell stats`: what is stored, what was lost on the way, and what tracing costs the services.

use anyhow::Result;
use serde_json::Value;
use tracewell_insight::duration;

use super::ServerArgs;
use super::client::Client;
use super::table::{cell, fit, moment, width};
use crate::output::{print_json, print_line, say};

pub(super) fn run(args: &ServerArgs) -> Result<()> {
    let stats = Client::new(&args.url)?.get("/api/v1/stats", &[])?;
    if args.json {
        return print_json(&stats);
    }
    for line in lines(&stats, width()) {
        print_line(&line)?;
    }
    if stats["sdks"].as_array().is_none_or(Vec::is_empty) {
        say("no SDK has told what it drops and costs; Tracewell's does so once a minute and when it is shut down");
    }
    Ok(())
}

fn lines(stats: &Value, width: usize) -> Vec<String> {
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let (store, received) = (&stats["store"], &stats["received"]);
    let mut lines = vec![
        format!("stored    {} spans in {} bytes", count(&store["spans"]), count(&store["bytes"])),
        format!("received  {} spans in {} requests", count(&received["spans"]), count(&received["requests"])),
    ];
    lines.extend(bucket_lines(&store["bucket"]));
    if let Some(why) = store["refusing"].as_str() {
        lines.push(format!("refusing  spans: {why}"));
    }
    if let Some(why) = store["retention"]["clock_doubt"].as_str() {
        lines.push(format!("clock     not believed, nothing is deleted by it: {why}"));
    }
    let odd = &stats["odd_times"];
    if count(&odd["future"]) + count(&odd["past"]) > 0 {
        let (future, past) = (count(&odd["future"]), count(&odd["past"]));
        lines.push(format!("odd       {future} spans started too far in the future, {past} before 2000"));
    }
    for (title, field) in [("refused", "refused"), ("dropped", "dropped")] {
        for loss in stats[field].as_array().into_iter().flatten() {
            let (requests, spans) = (count(&loss["requests"]), count(&loss["spans"]));
            let reason = loss["reason"].as_str().unwrap_or_default();
            lines.push(format!("{title}   {requests} requests and {spans} spans: {reason}"));
        }
    }
    let sdks = stats["sdks"].as_array().map_or(&[][..], Vec::as_slice);
    if sdks.is_empty() {
        return lines;
    }
    lines.push(String::new());
    // A narrow terminal goes without when it was told, a narrower one without the bytes.
    let (with_bytes, with_moment) = (width >= 77, width >= 103);
    let line = |[service, spans, dropped, bytes, sending, told]: [&str; 6]| {
        let mut line = format!("{}  {spans:>12}  {dropped:>9}", cell(service, if with_bytes { 24 } else { 20 }));
        if with_bytes {
            line += &format!("  {bytes:>14}");
        }
        line += &format!("  {sending:>10}");
        if with_moment {
            line += &format!("  {told}");
        }
        line
    };
    lines.push(line(["SERVICE", "SPANS", "DROPPED", "BYTES SENT", "SENDING", "TOLD"]));
    for sdk in sdks {
        let drops = sdk["dropped"].as_array().map_or(&[][..], Vec::as_slice);
        lines.push(line([
            sdk["service"].as_str().unwrap_or_default(),
            &count(&sdk["recorded"]).to_string(),
            &drops.iter().map(|drop| count(&drop["spans"])).sum::<u64>().to_string(),
            &count(&sdk["exported_bytes"]).to_string(),
            &duration(sdk["export_nanos"].as_f64().unwrap_or(0.0)),
            &moment(sdk["last_unix_nano"].as_str().unwrap_or_default()),
        ]));
        for drop in drops {
            let reason = format!("{} dropped: {}", count(&drop["spans"]), drop["reason"].as_str().unwrap_or_default());
            lines.push(format!("  {}", fit(&reason, width.saturating_sub(2))));
        }
    }
    lines
}

fn bucket_lines(bucket: &Value) -> Vec<String> {
    let Some(url) = bucket["url"].as_str() else { return Vec::new() };
    let count = |value: &Value| value.as_u64().unwrap_or(0);
    let mut lines = vec![match bucket["away"].as_str() {
        Some(why) if bucket["away_for_good"] == true => {
            format!("bucket    {url} is lost to this server, which refuses spans: {why}")
        }
        Some(why) => format!("bucket    {url} is away, spans wait in the log: {why}"),
        None => format!("bucket    {url}"),
    }];
    if count(&bucket["unmoved_segments"]) > 0 {
        let (segments, bytes) = (count(&bucket["unmoved_segments"]), count(&bucket["unmoved_bytes"]));
        lines.push(format!("moving    {segments} segments in {bytes} bytes are still in the directory"));
    }
    let cache = &bucket["cache"];
    lines.push(format!(
        "cache     {} of {} bytes; {} hits, {} misses, {} evictions",
        count(&cache["bytes"]),
        count(&cache["most_bytes"]),
        count(&cache["hits"]),
        count(&cache["misses"]),
        count(&cache["evictions"])
    ));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_bucket_that_is_away_is_told_with_the_reason() {
        let bucket = json!({
            "url": "s3://spans/a", "away": "503 slow down", "unmoved_segments": 2, "unmoved_bytes": 70,
            "cache": {"most_bytes": 100, "bytes": 10, "pieces": 1, "hits": 5, "misses": 4, "missed_bytes": 40, "evictions": 3},
        });
        assert_eq!(
            bucket_lines(&bucket),
            [
                "bucket    s3://spans/a is away, spans wait in the log: 503 slow down",
                "moving    2 segments in 70 bytes are still in the directory",
                "cache     10 of 100 bytes; 5 hits, 4 misses, 3 evictions",
            ]
        );
        assert_eq!(bucket_lines(&json!(null)), Vec::<String>::new());
        let lost = json!({"url": "s3://spans/a", "away": "it belongs to another", "away_for_good": true});
        let line = "bucket    s3://spans/a is lost to this server, which refuses spans: it belongs to another";
        assert_eq!(bucket_lines(&lost)[0], line);
    }

    #[test]
    fn what_a_service_drops_stands_under_its_line() {
        let stats = json!({
            "store": {"spans": 12, "bytes": 300},
            "received": {"requests": 3, "spans": 12},
            "refused": [{"reason": "busy", "requests": 1, "spans": 0}],
            "dropped": [],
            "sdks": [{
                "service": "cart", "recorded": 140, "exported": 12, "exported_bytes": 4100, "export_nanos": 1_500_000,
                "dropped": [{"reason": "queue_full", "spans": 128}], "last_unix_nano": "1700000000123000000",
            }],
        });
        assert_eq!(
            lines(&stats, 120),
            [
                "stored    12 spans in 300 bytes",
                "received  12 spans in 3 requests",
                "refused   1 requests and 0 spans: busy",
                "",
                "SERVICE                          SPANS    DROPPED      BYTES SENT     SENDING  TOLD",
                "cart                               140        128            4100      1.5 ms  2023-11-14T22:13:20.123Z",
                "  128 dropped: queue_full",
            ]
        );
        for width in [60, 77, 103] {
            assert!(lines(&stats, width).iter().all(|line| line.chars().count() <= width), "{width}");
        }
    }
}
