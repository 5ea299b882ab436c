import { describe, expect, it } from "vitest";

import { compareToUrl } from "../api/query";
import type { ComparedPath, PathStats } from "../api/types";
import { compareRows } from "./compare";

const stats = (calls: number, nanos: number): PathStats => ({
  calls, duration_nanos: nanos, self_nanos: nanos, critical_nanos: nanos, errors: 0,
  longest: calls > 0 ? { trace_id: "1", span_id: "2" } : null,
});

function path(parent: number | null, depth: number, operation: string, a: PathStats, b: PathStats): ComparedPath {
  const presence = a.calls === 0 ? "new" : b.calls === 0 ? "missing" : "both";
  return { parent, depth, service: "shop", operation, kind: "internal", presence, a, b };
}

// pay ┬ query
//     ├ mail
//     └ check ─ query
const paths = [
  path(null, 0, "pay", stats(1, 5), stats(1, 5.3)),
  path(0, 1, "query", stats(1, 15), stats(2, 85)),
  path(0, 1, "mail", stats(1, 5), stats(0, 0)),
  path(0, 1, "check", stats(1, 10), stats(1, 10)),
  path(3, 2, "query", stats(1, 0), stats(3, 0)),
];

describe("two sides by call path", () => {
  const words = (order: "tree" | "difference") =>
    compareRows(paths, "critical_nanos", order).map((row) => [...row.above, row.path.operation, row.difference_nanos].join(" "));

  it("stand as they are called, with what leads to them", () => {
    expect(words("tree")).toEqual(["pay 0", "shop pay query 70", "shop pay mail -5", "shop pay check 0", "shop pay shop check query 0"]);
  });
  it("show what differs most first, then what is called another number of times, and leave the rest as called", () => {
    expect(words("difference")).toEqual([
      "shop pay query 70", "shop pay mail -5", "shop pay shop check query 0", "pay 0", "shop pay check 0",
    ]);
  });
  it("have bars on both sides of the middle, to one scale", () => {
    const bars = compareRows(paths, "critical_nanos", "difference").map(({ bar }) => [bar.left, bar.width]);
    expect(bars[0]).toEqual([0.5, 0.5]);
    expect(bars[1][0] + bars[1][1]).toBeCloseTo(0.5);
    expect(bars[1][1]).toBeCloseTo(0.5 * (5 / 70));
    expect(bars[3]).toEqual([0.5, 0]);
  });
  it("have a URL", () => {
    expect(compareToUrl(" a ", "b")).toBe("/compare?a=a&b=b");
  });
});
