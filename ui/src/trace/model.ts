import { text } from "./format";
import type { KeyValue, Span, TraceDetail } from "../api/types";

/** A trace with what the timeline asks of it often, in typed arrays. Spans are depth first, so a subtree is a range. */
export interface TraceModel {
  detail: TraceDetail;
  start: Float64Array;
  duration: Float64Array;
  depth: Uint16Array;
  /** The first row behind the subtree of each span. */
  end: Uint32Array;
  critical: Uint8Array;
  error: Uint8Array;
  /** Pieces of the critical path by span. */
  pieces: Map<number, { start: number; duration: number }[]>;
}

export function model(detail: TraceDetail): TraceModel {
  const count = detail.spans.length;
  const result: TraceModel = {
    detail,
    start: new Float64Array(count),
    duration: new Float64Array(count),
    depth: new Uint16Array(count),
    end: new Uint32Array(count),
    critical: new Uint8Array(count),
    error: new Uint8Array(count),
    pieces: new Map(),
  };
  detail.spans.forEach((span, row) => {
    result.start[row] = span.start_nanos;
    result.duration[row] = span.duration_nanos;
    result.depth[row] = Math.min(span.depth, 65535);
    result.error[row] = span.status.code === "error" ? 1 : 0;
  });
  const open: number[] = [];
  for (let row = 0; row <= count; row++) {
    while (open.length > 0 && (row === count || result.depth[open[open.length - 1]] >= result.depth[row])) {
      result.end[open.pop()!] = row;
    }
    if (row < count) open.push(row);
  }
  for (const piece of detail.critical_path) {
    result.critical[piece.span] = 1;
    const list = result.pieces.get(piece.span) ?? [];
    list.push({ start: piece.start_nanos, duration: piece.duration_nanos });
    result.pieces.set(piece.span, list);
  }
  return result;
}

/** The rows that show: not inside a collapsed span and, if asked, on the critical path only. */
export function visibleRows(trace: TraceModel, collapsed: ReadonlySet<number>, criticalOnly: boolean): number[] {
  const rows: number[] = [];
  for (let row = 0; row < trace.start.length; ) {
    if (!criticalOnly || trace.critical[row]) rows.push(row);
    row = collapsed.has(row) ? trace.end[row] : row + 1;
  }
  return rows;
}

export const hasChildren = (trace: TraceModel, row: number): boolean => trace.end[row] > row + 1;

/** Every span above a row: they have to be open for the row to show. */
export function ancestors(trace: TraceModel, row: number): number[] {
  const above: number[] = [];
  for (let parent = trace.detail.spans[row].parent; parent !== null; parent = trace.detail.spans[parent].parent) {
    above.push(parent);
  }
  return above;
}

/** Rows whose name, service, id, status or attributes contain the text. */
export function find(trace: TraceModel, wanted: string): number[] {
  const needle = wanted.trim().toLowerCase();
  if (needle === "") return [];
  const within = (value: string) => value.toLowerCase().includes(needle);
  const matches = (span: Span) =>
    within(span.name) ||
    within(span.service) ||
    span.span_id === needle ||
    within(span.status.message) ||
    span.attributes.some((pair) => within(`${pair.key}=${text(pair.value)}`));
  return trace.detail.spans.flatMap((span, row) => (matches(span) ? [row] : []));
}

/** Whether this is a copy of a span that had not ended when it was sent, and of which nothing was heard since. */
export const isPending = (span: Span): boolean => span.attributes.some((pair) => pair.key === "tracewell.pending");

const REQUEST_ID_KEYS = ["request.id", "request_id", "http.request.header.x-request-id", "http.request_id", "x-request-id"];

/** The id by which a request's log lines are found. */
export function requestId(attributes: KeyValue[]): string | null {
  for (const key of REQUEST_ID_KEYS) {
    const found = attributes.find((pair) => pair.key === key);
    if (found) return text(found.value.arrayValue?.values?.[0] ?? found.value) || null;
  }
  return null;
}
