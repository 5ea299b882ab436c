import type { TraceDetail } from "../api/types";
import { duration } from "./format";

/** What a trace did at a call path. */
export interface PathSide {
  calls: number;
  duration_nanos: number;
  self_nanos: number;
  critical_nanos: number;
  errors: number;
  /** The id of its longest span: what to look at. */
  longest: string | null;
}

/** One call path in both traces: the same operation called from two places is two of them. */
export interface ComparedPath {
  depth: number;
  service: string;
  operation: string;
  kind: string;
  /** Its place in the list; the parent comes before. */
  parent: number | null;
  sides: [PathSide, PathSide];
}

export const isNew = (path: ComparedPath): boolean => path.sides[0].calls === 0;
export const isMissing = (path: ComparedPath): boolean => path.sides[1].calls === 0;

/** Aligns two traces by call path, as `tracewell compare` does: parents first, children in the order in which they begin. */
export function align(first: TraceDetail, second: TraceDetail): ComparedPath[] {
  const known = new Map<string, Node>();
  const roots: Node[] = [];
  [first, second].forEach((trace, side) => {
    const nodeOf: Node[] = [];
    const longest = new Map<Node, number>();
    for (const span of trace.spans) {
      const parent = span.parent === null ? null : nodeOf[span.parent];
      const key = JSON.stringify([parent?.number ?? -1, span.service, span.name, span.kind]);
      let node = known.get(key);
      if (!node) {
        const { service, name: operation, kind } = span;
        const depth = parent ? parent.path.depth + 1 : 0;
        const path: ComparedPath = { depth, service, operation, kind, parent: null, sides: [nothing(), nothing()] };
        node = { number: known.size, path, children: [], begins: 0, spans: 0 };
        known.set(key, node);
        (parent?.children ?? roots).push(node);
      }
      nodeOf.push(node);
      node.begins += span.start_nanos;
      node.spans += 1;
      const stats = node.path.sides[side];
      stats.calls += 1;
      stats.duration_nanos += span.duration_nanos;
      stats.self_nanos += span.self_nanos;
      stats.critical_nanos += span.critical_nanos;
      stats.errors += span.status.code === "error" ? 1 : 0;
      if (span.duration_nanos > (longest.get(node) ?? -1)) {
        longest.set(node, span.duration_nanos);
        stats.longest = span.span_id;
      }
    }
  });
  return inOrder(roots);
}

interface Node {
  number: number;
  path: ComparedPath;
  children: Node[];
  /** When its spans begin, summed over all of them. */
  begins: number;
  spans: number;
}

const nothing = (): PathSide => ({ calls: 0, duration_nanos: 0, self_nanos: 0, critical_nanos: 0, errors: 0, longest: null });

function inOrder(roots: Node[]): ComparedPath[] {
  const rows: ComparedPath[] = [];
  // The last comes first off the stack.
  const lastFirst = (nodes: Node[]) => [...nodes].sort((left, right) => left.begins / left.spans - right.begins / right.spans).reverse();
  const stack = lastFirst(roots).map((node) => ({ node, parent: null as number | null }));
  for (let next = stack.pop(); next; next = stack.pop()) {
    const place = rows.push({ ...next.node.path, parent: next.parent }) - 1;
    for (const node of lastFirst(next.node.children)) stack.push({ node, parent: place });
  }
  return rows;
}

/** Below this part of the longer one, two durations are called alike. */
const ALIKE = 0.02;

/** What differs between two traces, in a few sentences. */
export function compareSentence(first: TraceDetail, second: TraceDetail, paths: ComparedPath[]): string {
  const sentences = [howLong(first, second)];
  const change = second.duration_nanos - first.duration_nanos;
  const added = (path: ComparedPath) => path.sides[1].critical_nanos - path.sides[0].critical_nanos;
  const towards = (path: ComparedPath) => (change < 0 ? -added(path) : added(path));
  const most = paths.reduce<ComparedPath | null>((best, path) => (best && towards(best) >= towards(path) ? best : path), null);
  if (first.root_service !== second.root_service || first.root_operation !== second.root_operation) {
    sentences.push("They are different kinds of request, so their calls cannot be aligned.");
  } else if (most && towards(most) > 0 && !areAlike(first, second)) {
    const part = `${change < 0 ? "−" : "+"}${duration(towards(most))}`;
    sentences.push(`The largest part, ${part}, is at ${most.service}: ${most.operation}${howOften(most)}.`);
  }
  const [fresh, gone] = [paths.filter(isNew).length, paths.filter(isMissing).length];
  const said = (count: number, side: string, what: string) =>
    count === 0 ? "" : `${count} ${count === 1 ? "call path" : "call paths"} of ${side} ${count === 1 ? "is" : "are"} ${what}`;
  if (fresh + gone === 0) sentences.push("Both make the same calls.");
  else {
    sentences.push(`${[said(fresh, "B", "new"), said(gone, "A", "missing")].filter(Boolean).join(", ")}.`);
  }
  const [before, after] = [0, 1].map((side) => paths.reduce((sum, path) => sum + path.sides[side].errors, 0));
  if (before + after > 0) sentences.push(`Failed spans: ${before} in A, ${after} in B.`);
  return sentences.join(" ");
}

function areAlike(first: TraceDetail, second: TraceDetail): boolean {
  const longer = Math.max(first.duration_nanos, second.duration_nanos);
  return Math.abs(second.duration_nanos - first.duration_nanos) <= ALIKE * longer;
}

function howLong(first: TraceDetail, second: TraceDetail): string {
  const [before, after] = [first.duration_nanos, second.duration_nanos];
  if (areAlike(first, second)) return `B took about as long as A: ${duration(after)} and ${duration(before)}.`;
  return `B took ${duration(Math.abs(after - before))} ${after > before ? "longer" : "less"} than A: ${duration(after)} instead of ${duration(before)}.`;
}

function howOften(path: ComparedPath): string {
  const [before, after] = path.sides.map((side) => side.calls);
  const times = (count: number) => (count === 1 ? "once" : count === 2 ? "twice" : `${count} times`);
  if (isNew(path)) return ", which A does not call";
  if (isMissing(path)) return ", which B does not call";
  return before === after ? "" : `, called ${times(after)} instead of ${times(before)}`;
}
