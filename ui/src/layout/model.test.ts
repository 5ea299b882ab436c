import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import {
  EMPTY_FORM, EMPTY_WHY, formFromUrl, formToQuery, formToUrl, splitTags, whyFromUrl, whyToQuery, whyToUrl,
} from "../api/query";
import type { Span, TraceDetail } from "../api/types";
import { barColour, hue } from "../trace/colour";
import { exportLine } from "../trace/endpoint";
import { ago, clock, duration, mean, shortened, size, text } from "../trace/format";
import { ancestors, find, hasChildren, isPending, model, requestId, visibleRows } from "../trace/model";
import { sdkSentence } from "../trace/sdk";
import { awaySentence } from "../trace/store";
import { logTicks, rowWindow, ticks } from "./scale";
import { dots } from "./scatter";

function span(depth: number, parent: number | null, name: string): Span {
  return {
    span_id: name, parent_span_id: null, parent, depth, name, service: "s", kind: "internal",
    status: { code: name === "c" ? "error" : "unset", message: "" }, start_nanos: depth * 10, duration_nanos: 100,
    self_nanos: 0, critical_nanos: 0, drag_nanos: 0, slack_nanos: 0, resource: 0, scope: 0, trace_state: "",
    attributes: [{ key: "request.id", value: { stringValue: `r-${name}` } }], events: [], links: [],
  };
}

// a ┬ b ─ c
//   └ d
const detail: TraceDetail = {
  trace_id: "1", root_service: "s", root_operation: "a", start_unix_nano: "0", duration_nanos: 100, services: [],
  notes: {}, resources: [], scopes: [],
  total_spans: 4, complete: true, critical_path: [{ span: 0, start_nanos: 0, duration_nanos: 50 }, { span: 3, start_nanos: 50, duration_nanos: 50 }],
  spans: [span(0, null, "a"), span(1, 0, "b"), span(2, 1, "c"), span(1, 0, "d")],
};

describe("what SDKs tell", () => {
  const sdk = { service: "cart", recorded: 9, exported: 7, dropped: [], exported_bytes: 0, export_nanos: 0, last_unix_nano: "0" };
  it("is a sentence with what was dropped and what it took", () => {
    expect(sdkSentence([sdk])).toBe("cart tells of its tracing: 9 spans, none dropped before they came here.");
    const lossy = { ...sdk, service: "shop", dropped: [{ reason: "queue_full", spans: 2 }], export_nanos: 1_500_000 };
    expect(sdkSentence([sdk, lossy])).toBe(
      "2 services tell of their tracing: 18 spans, 2 dropped before they came here; sending took 1.5 ms.",
    );
  });
});

describe("a bucket that is away", () => {
  const bucket = { url: "s3://spans/a", away: null, away_for_good: false };
  it("is told in one sentence, for as long as it is", () => {
    expect(awaySentence(null)).toBe(null);
    expect(awaySentence(bucket)).toBe(null);
    expect(awaySentence({ ...bucket, away: "503 slow down" })).toMatch(/cannot be written.*spans wait in the log and are kept/);
  });
  it("that is lost for good promises nothing", () => {
    expect(awaySentence({ ...bucket, away: "it belongs to another", away_for_good: true })).toMatch(/refuses spans/);
  });
});

describe("a trace", () => {
  const trace = model(detail);
  it("knows the spans that had not ended", () => {
    expect(isPending(detail.spans[0])).toBe(false);
    expect(isPending({ ...detail.spans[0], attributes: [{ key: "tracewell.pending", value: { boolValue: true } }] })).toBe(true);
  });
  it("knows the rows of every subtree", () => {
    expect([...trace.end]).toEqual([4, 3, 3, 4]);
    expect([0, 1, 2, 3].map((row) => hasChildren(trace, row))).toEqual([true, true, false, false]);
    expect(ancestors(trace, 2)).toEqual([1, 0]);
  });
  it("hides what is collapsed, and what is not on the critical path", () => {
    expect(visibleRows(trace, new Set(), false)).toEqual([0, 1, 2, 3]);
    expect(visibleRows(trace, new Set([1]), false)).toEqual([0, 1, 3]);
    expect(visibleRows(trace, new Set([0]), false)).toEqual([0]);
    expect(visibleRows(trace, new Set(), true)).toEqual([0, 3]);
  });
  it("is searched by name and attribute", () => {
    expect(find(trace, "R-C")).toEqual([2]);
    expect(find(trace, " ")).toEqual([]);
    expect(requestId(detail.spans[1].attributes)).toBe("r-b");
    expect(requestId([])).toBeNull();
  });
});

describe("the search form", () => {
  it("survives the URL", () => {
    const form = { ...EMPTY_FORM, service: "cart", tags: 'a=1 b="two words"', errors: true, lookback: "6h" };
    expect(formFromUrl(new URLSearchParams(formToUrl(form)))).toEqual(form);
    expect(formToUrl(EMPTY_FORM)).toBe("");
  });
  it("becomes the API's parameters", () => {
    expect(splitTags('a=1 b="two words"')).toEqual(["a=1", "b=two words"]);
    const query = formToQuery({ ...EMPTY_FORM, tags: "a=1", errors: true }, null);
    expect(query).toContainEqual(["tag", "a=1"]);
    expect(query).toContainEqual(["status", "error"]);
    expect(query).toContainEqual(["start", "-1h"]);
  });
  it("has any time, or one between two moments that may be open", () => {
    const time = (form: object) => Object.fromEntries(formToQuery({ ...EMPTY_FORM, ...form }, null));
    expect(time({ lookback: "all" })).toMatchObject({ start: "0", end: "18446744073709551615" });
    const from = "2026-01-02T03:04:05";
    const nanos = `${BigInt(new Date(from).getTime()) * 1_000_000n}`;
    expect(time({ lookback: "between", from })).toMatchObject({ start: nanos, end: "18446744073709551615" });
    expect(time({ lookback: "between", to: from })).toMatchObject({ start: "0", end: nanos });
  });
});

describe("the form that asks why", () => {
  it("survives the URL", () => {
    const form = { ...EMPTY_WHY, service: "cart", lookback: "6h", baseline: "before" };
    expect(whyFromUrl(new URLSearchParams(whyToUrl(form)))).toEqual(form);
    expect(whyToUrl(EMPTY_WHY)).toBe("");
  });
  it("compares with a time of the same length", () => {
    const asked = (form: object) => Object.fromEntries(whyToQuery({ ...EMPTY_WHY, baseline: "before", ...form }));
    expect(asked({ lookback: "6h" })).toMatchObject({ start: "-6h", baseline_start: "-12h", baseline_end: "-6h" });
    const between = asked({ lookback: "between", from: "2026-01-02T03:00:00", to: "2026-01-02T04:00:00" });
    expect(between.baseline_end).toBe(between.start);
    expect(BigInt(between.end) - BigInt(between.start)).toBe(BigInt(between.baseline_end) - BigInt(between.baseline_start));
    expect(asked({ lookback: "all" }).baseline_start).toBeUndefined();
  });
});

describe("layout", () => {
  it("has round ticks inside the view", () => {
    expect(ticks({ start: 0, end: 100 }, 5)).toEqual([0, 20, 40, 60, 80, 100]);
    expect(ticks({ start: 7, end: 8 }, 1).length).toBeGreaterThan(0);
  });
  it("has round ticks on a logarithmic scale, more of them where it is short", () => {
    expect(logTicks(3, 60)).toEqual([5, 10, 20, 50]);
    expect(logTicks(3, 6e4)).toEqual([10, 100, 1000, 10_000]);
  });
  it("renders only the rows in sight", () => {
    expect(rowWindow(0, 100, 20, 20_000)).toEqual([0, 13]);
    expect(rowWindow(1e6, 100, 20, 10)).toEqual([10, 10]);
  });
  it("keeps a row while its details are in sight, however tall they are", () => {
    const inset = { after: 50, height: 2000 };
    expect(rowWindow(1000, 100, 20, 20_000, inset)).toEqual([42, 58]);
    expect(rowWindow(2900, 100, 20, 20_000, inset)).toEqual([42, 58]);
    // 100 rows and the details lie above.
    expect(rowWindow(4000, 100, 20, 20_000, inset)).toEqual([92, 113]);
  });
  it("spreads durations over at least a factor of ten", () => {
    const one = { ...detail, spans: 3, errors: 0, services: [] };
    const { low, high } = dots([one, one]);
    expect(high / low).toBeGreaterThan(9.9);
  });
});

describe("the line to copy", () => {
  const host = (address: string, pageHost: string) => /http:\/\/(\S+)/.exec(exportLine(address, "grpc", pageHost))?.[1];
  it("names the address that the server listens on", () => {
    expect(exportLine("127.0.0.1:4319", "http/protobuf", "localhost")).toBe(
      "export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4319 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
    );
    expect(host("[::1]:4317", "localhost")).toBe("[::1]:4317");
    expect(host("10.0.0.7:4317", "traces.example")).toBe("10.0.0.7:4317");
  });
  it("names the page's host if the server listens on every address", () => {
    expect(host("0.0.0.0:4318", "traces.example")).toBe("traces.example:4318");
    expect(host("[::]:4318", "[fd00::7]")).toBe("[fd00::7]:4318");
  });
});

describe("formats", () => {
  it("write durations as the server's sentences do", () => {
    const file = join(import.meta.dirname, "../../../crates/insight/src/durations.tsv");
    const examples = readFileSync(file, "utf8").trim().split("\n").slice(1).map((line) => line.split("\t"));
    expect(examples.length).toBeGreaterThan(30);
    expect(examples.map(([nanos]) => [nanos, duration(Number(nanos))])).toEqual(examples);
  });
  it("are short and exact", () => {
    expect([0, 999, 88_203, 3_700_000, 53e9].map(size)).toEqual(["0 bytes", "999 bytes", "88.2 kB", "3.7 MB", "53 GB"]);
    expect(text({ intValue: "9223372036854775807" })).toBe("9223372036854775807");
    expect(text({ arrayValue: { values: [{ boolValue: true }, {}] } })).toBe("[true, ]");
    expect(shortened("x".repeat(48))).toHaveLength(48);
    expect(shortened(`${"a".repeat(60)}#1`)).toBe(`${"a".repeat(20)}…${"a".repeat(25)}#1`);
    expect([1, 2.5, 0.25, 0.004, 100].map(mean)).toEqual(["1", "2.5", "0.25", "0", "100"]);
    expect(hue("cart")).toBe(hue("cart"));
    expect(barColour("cart")).toBe(`hsl(${hue("cart")} var(--bar-tone))`);
  });
  it("say of a moment what its neighbours need", () => {
    const millis = new Date(2026, 0, 2, 3, 4, 5, 6).getTime();
    const day = 86_400e3;
    expect([1e3, 60e3, 2 * day, 60 * day].map((range) => clock(millis, range))).toEqual([
      "03:04:05.006", "03:04:05", "01-02 03:04", "2026-01-02",
    ]);
    expect(ago(`${BigInt(millis) * 1_000_000n}`, millis + 3 * day)).toBe("3 d ago");
    expect(ago(`${BigInt(millis) * 1_000_000n}`, millis + 60 * day)).toBe("2026-01-02 03:04:05");
  });
});

describe("the layers", () => {
  const order = ["api", "trace", "layout", "render", "views"];
  it.each(order)("%s imports only earlier ones", (layer) => {
    const folder = join(import.meta.dirname, "..", layer);
    const allowed = order.slice(0, order.indexOf(layer) + 1);
    for (const name of readdirSync(folder).filter((name) => !name.endsWith(".test.ts"))) {
      const source = readFileSync(join(folder, name), "utf8");
      for (const [, path] of source.matchAll(/from "(\.\.?\/[^"]*)"/g)) {
        const target = path.startsWith("./") ? layer : path.split("/")[1];
        expect(allowed, `${layer}/${name} imports ${path}`).toContain(target);
      }
    }
  });
});
