import { describe, expect, it } from "vitest";

import { compareToUrl } from "../api/query";
import type { Span, TraceDetail } from "../api/types";
import { align, compareSentence } from "../trace/compare";
import { compareRows } from "./compare";

/** A span under the one at `parent`, whose time is all its own and all waited for. */
function span(parent: number | null, name: string, start: number, nanos: number, failed = false): Span {
  return {
    span_id: `${name}@${start}`, parent_span_id: null, parent, depth: 0, name, service: "shop", kind: "internal",
    status: { code: failed ? "error" : "unset", message: "" }, start_nanos: start, duration_nanos: nanos,
    self_nanos: nanos, critical_nanos: nanos, drag_nanos: 0, slack_nanos: 0, resource: 0, scope: 0, trace_state: "",
    attributes: [], events: [], links: [],
  };
}

function trace(duration_nanos: number, spans: Span[]): TraceDetail {
  return {
    trace_id: "1", root_service: "shop", root_operation: spans[0].name, start_unix_nano: "0", duration_nanos,
    services: [], notes: {}, resources: [], scopes: [], critical_path: [], spans,
  };
}

// pay ┬ check ─ query          pay ┬ query x 2
//     ├ query                      └ check
//     └ mail
const usual = trace(40, [
  span(null, "pay", 0, 5), span(0, "check", 1, 10), span(1, "query", 2, 5), span(0, "query", 20, 15), span(0, "mail", 30, 5),
]);
const slow = trace(100, [
  span(null, "pay", 0, 5), span(0, "query", 10, 30), span(0, "query", 40, 55, true), span(0, "check", 99, 10),
]);

describe("two traces side by side", () => {
  const paths = align(usual, slow);
  const words = (order: "tree" | "difference") =>
    compareRows(paths, "critical_nanos", order).map(({ path, above, difference_nanos }) =>
      [...above, path.operation, path.sides.map(({ calls }) => calls).join("/"), difference_nanos].join(" "),
    );

  it("are aligned by call path, in the order in which calls begin", () => {
    // Over all its spans, the query begins at 23 on average and mail at 30; check, late in the slow one, at 50.
    expect(words("tree")).toEqual([
      "pay 1/1 0", "shop pay query 1/2 70", "shop pay mail 1/0 -5", "shop pay check 1/1 0", "shop pay shop check query 1/0 -5",
    ]);
  });
  it("show what differs most first, and leave what is alike as it is called", () => {
    expect(words("difference")).toEqual([
      "shop pay query 1/2 70", "shop pay mail 1/0 -5", "shop pay shop check query 1/0 -5", "pay 1/1 0", "shop pay check 1/1 0",
    ]);
  });
  it("have bars on both sides of the middle, to one scale", () => {
    const bars = compareRows(paths, "critical_nanos", "difference").map(({ bar }) => [bar.left, bar.width]);
    expect(bars[0]).toEqual([0.5, 0.5]);
    expect(bars[1][0] + bars[1][1]).toBeCloseTo(0.5);
    expect(bars[1][1]).toBeCloseTo(0.5 * (5 / 70));
    expect(bars[3]).toEqual([0.5, 0]);
  });
  it("lead to the longest span of a path", () => {
    expect(paths[1].sides.map(({ longest }) => longest)).toEqual(["query@20", "query@40"]);
  });
  it("are told apart in words", () => {
    expect(compareSentence(usual, slow, paths)).toBe(
      "B took 60 ns longer than A: 100 ns instead of 40 ns. The largest part, +70 ns, is at shop: query, called twice " +
        "instead of once. 2 call paths of A are missing. Failed spans: 0 in A, 1 in B.",
    );
    expect(compareSentence(usual, usual, align(usual, usual))).toBe(
      "B took about as long as A: 40 ns and 40 ns. Both make the same calls.",
    );
    expect(compareSentence(slow, usual, align(slow, usual))).toContain("B took 60 ns less than A");
  });
  it("are not aligned if they are of different kinds", () => {
    const other = trace(40, [span(null, "login", 0, 40)]);
    expect(compareSentence(usual, other, align(usual, other))).toContain("different kinds of request");
  });
  it("have a URL", () => {
    expect(compareToUrl(" a ", "b")).toBe("/compare?a=a&b=b");
  });
});
