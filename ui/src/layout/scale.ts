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

/** Which of `total` rows lie in the window of a scrolled list, with some to spare. */
export function rowWindow(scrollTop: number, height: number, rowHeight: number, total: number): [number, number] {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - 8);
  const last = Math.min(total, Math.ceil((scrollTop + height) / rowHeight) + 8);
  return [Math.min(first, total), last];
}
