/** A window of time, as offsets from the trace's start: floats keep nanoseconds there. */
export interface View {
  start: number;
  end: number;
}

/** From nanoseconds to 0..1 of the view. */
export const fraction = (view: View, nanos: number): number => (nanos - view.start) / Math.max(1, view.end - view.start);

/** Round ticks inside a view, at most `most` of them. */
export function ticks(view: View, most: number): number[] {
  const span = Math.max(1, view.end - view.start);
  const rough = span / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough) ?? 10 * power;
  const out: number[] = [];
  for (let tick = Math.ceil(view.start / step) * step; tick <= view.end; tick += step) out.push(tick);
  return out;
}

/** Round values inside a logarithmic scale: powers of ten, and 2 and 5 between them where there are few. */
export function logTicks(low: number, high: number): number[] {
  const factors = high / low < 500 ? [1, 2, 5] : [1];
  const out: number[] = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++) {
    out.push(...factors.map((factor) => factor * 10 ** power).filter((tick) => tick >= low && tick <= high));
  }
  return out;
}

/** Something taller than a row that stands behind one: the details of a span. */
export interface Inset {
  /** The place of the row that it stands behind. */
  after: number;
  height: number;
}

/** Which of `total` rows lie in the window of a scrolled list, with some to spare. */
export function rowWindow(scrollTop: number, height: number, rowHeight: number, total: number, inset: Inset | null = null): [number, number] {
  const rows = (top: number) => {
    if (inset === null || top < (inset.after + 1) * rowHeight) return top / rowHeight;
    return Math.max(inset.after, (top - inset.height) / rowHeight);
  };
  const first = Math.max(0, Math.floor(rows(scrollTop)) - 8);
  const last = Math.min(total, Math.ceil(rows(scrollTop + height)) + 8);
  return [Math.min(first, total), last];
}
