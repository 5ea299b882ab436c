import type { ComparedPath } from "../api/types";
import { shortened } from "../trace/format";

export const MEASURES = { critical_nanos: "on the critical path", self_nanos: "self time", duration_nanos: "total time" };
export type Measure = keyof typeof MEASURES;

export const ORDERS = { difference: "largest difference first", tree: "as called" };
export type Order = keyof typeof ORDERS;

/** A call path as the table shows it. */
export interface CompareRow {
  path: ComparedPath;
  /** What leads to it, the root first. */
  above: string[];
  difference_nanos: number;
  /** Where its bar stands, as fractions of the column whose middle is no difference. */
  bar: { left: number; width: number };
}

/** The rows of a comparison, with bars that go left of the middle for less time and right of it for more. */
export function compareRows(paths: ComparedPath[], measure: Measure, order: Order): CompareRow[] {
  // Means of many traces leave parts of a nanosecond.
  const differences = paths.map(({ a, b }) => Math.round(b[measure] - a[measure]));
  const most = differences.reduce((most, difference) => Math.max(most, Math.abs(difference)), 1);
  const rows = paths.map((path, place) => {
    const width = Math.abs(differences[place]) / most / 2;
    const bar = { left: differences[place] < 0 ? 0.5 - width : 0.5, width };
    return { path, above: above(paths, path), difference_nanos: differences[place], bar };
  });
  if (order === "tree") return rows;
  const calls = ({ path }: CompareRow) => Math.abs(path.b.calls - path.a.calls);
  // What costs no time may still be called more often; what is alike in both stays as called.
  return rows.sort((left, right) => Math.abs(right.difference_nanos) - Math.abs(left.difference_nanos) || calls(right) - calls(left));
}

/** More than this is no help to a reader, and a deep trace would have very many. */
const MOST_ABOVE = 4;

function above(paths: ComparedPath[], path: ComparedPath): string[] {
  const names: string[] = [];
  for (let place = path.parent; place !== null; place = paths[place].parent) {
    if (names.length === MOST_ABOVE) return ["…", ...names];
    names.unshift(`${shortened(paths[place].service)} ${shortened(paths[place].operation)}`);
  }
  return names;
}
