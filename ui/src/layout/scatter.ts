import type { TraceSummary } from "../api/types";

export interface Dot {
  x: number;
  y: number;
  radius: number;
  error: boolean;
  index: number;
}

export interface Scatter {
  dots: Dot[];
  /** The durations at the bottom and at the top. */
  low: number;
  high: number;
  /** The moments at the left and at the right, in milliseconds since 1970. */
  first: number;
  last: number;
}

/** Traces as dots: when to the right, how long (as a logarithm) upwards; both from 0 to 1. */
export function dots(traces: TraceSummary[]): Scatter {
  if (traces.length === 0) return { dots: [], low: 1, high: 10, first: 0, last: 0 };
  const starts = traces.map((trace) => Number(BigInt(trace.start_unix_nano) / 1000n));
  const logs = traces.map((trace) => Math.log10(Math.max(1, trace.duration_nanos)));
  const [first, last] = [Math.min(...starts), Math.max(...starts)];
  // At least a factor of ten from bottom to top, or noise would look like a pattern.
  const middle = (Math.min(...logs) + Math.max(...logs)) / 2;
  const reach = Math.max(0.5, (Math.max(...logs) - Math.min(...logs)) / 2 + 0.1);
  const [low, high] = [middle - reach, middle + reach];
  return {
    dots: traces.map((trace, index) => ({
      x: last === first ? 0.5 : (starts[index] - first) / (last - first),
      y: (logs[index] - low) / (high - low),
      radius: 3 + Math.min(9, Math.log2(trace.spans + 1)),
      error: trace.errors > 0,
      index,
    })),
    low: 10 ** low,
    high: 10 ** high,
    first: first / 1000,
    last: last / 1000,
  };
}
