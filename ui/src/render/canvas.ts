import { MediaQuery } from "svelte/reactivity";

import { fraction, logTicks, type View } from "../layout/scale";
import type { Scatter } from "../layout/scatter";
import { barColour } from "../trace/colour";
import { clock, duration } from "../trace/format";
import type { TraceModel } from "../trace/model";

/** A context scaled to the screen's pixels, cleared. */
export function prepare(canvas: HTMLCanvasElement): { context: CanvasRenderingContext2D; width: number; height: number } {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d")!;
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const scheme = new MediaQuery("prefers-color-scheme: dark");

/** Reads the page's colours. An effect that paints with them paints again when the system turns light or dark. */
function colours(): (name: string) => string {
  void scheme.current;
  const styles = getComputedStyle(document.documentElement);
  return (name) => styles.getPropertyValue(name).trim();
}

/** The whole trace in a strip: each span a hairline, each pixel column at most once a row. */
export function paintMinimap(canvas: HTMLCanvasElement, trace: TraceModel, view: View): void {
  const { context, width, height } = prepare(canvas);
  const style = colours();
  const [tone, error] = [style("--bar-tone"), style("--error")];
  const total = Math.max(1, trace.detail.duration_nanos);
  const rows = trace.start.length;
  const rowHeight = Math.max(1, Math.min(4, height / rows));
  let lastKey = -1;
  for (let row = 0; row < rows; row++) {
    const y = (row / rows) * height;
    const x = (trace.start[row] / total) * width;
    const length = Math.max(1, (trace.duration[row] / total) * width);
    const key = Math.floor(y) * 65536 + Math.floor(x);
    if (rows > height * 4 && key === lastKey) continue;
    lastKey = key;
    context.fillStyle = trace.error[row] ? error : barColour(trace.detail.spans[row].service, tone);
    context.fillRect(x, y, length, rowHeight);
  }
  const all = { start: 0, end: total };
  context.fillStyle = style("--shade");
  context.fillRect(0, 0, fraction(all, view.start) * width, height);
  const right = fraction(all, view.end) * width;
  context.fillRect(right, 0, width - right, height);
}

/** The dots of a search with the scales of their durations and of time. */
export function paintScatter(canvas: HTMLCanvasElement, scatter: Scatter, hovered: number | null): void {
  const { context, width, height } = prepare(canvas);
  const style = colours();
  const { dots, low, high, first, last } = scatter;
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const tick of logTicks(low, high)) {
    const y = place(0, Math.log10(tick / low) / Math.log10(high / low), width, height).y;
    context.strokeStyle = style("--line");
    context.beginPath();
    context.moveTo(56, y);
    context.lineTo(width, y);
    context.stroke();
    context.fillStyle = style("--faint");
    context.fillText(duration(tick), 4, y);
  }
  // One moment, or as many as there is room for.
  const steps = last > first ? Math.max(1, Math.floor((width - 90) / 220)) : 0;
  for (let step = 0; step <= steps; step++) {
    const part = steps === 0 ? 0.5 : step / steps;
    context.textAlign = steps === 0 ? "center" : part === 0 ? "left" : part === 1 ? "right" : "center";
    context.fillStyle = style("--faint");
    context.fillText(clock(first + part * (last - first), last - first), place(part, 0, width, height).x, height - 9);
  }
  context.textAlign = "left";
  for (const dot of dots) {
    const { x, y } = place(dot.x, dot.y, width, height);
    context.beginPath();
    context.arc(x, y, dot.radius, 0, 2 * Math.PI);
    context.globalAlpha = dot.index === hovered ? 1 : 0.6;
    context.fillStyle = dot.error ? style("--error") : style("--accent");
    context.fill();
    // A ring, so that errors show without colour.
    if (dot.error || dot.index === hovered) {
      context.globalAlpha = 1;
      context.strokeStyle = style("--text");
      context.stroke();
    }
  }
  context.globalAlpha = 1;
}

/** Where a dot lies on the canvas. */
export function place(x: number, y: number, width: number, height: number): { x: number; y: number } {
  return { x: 70 + x * (width - 90), y: height - 30 - y * (height - 44) };
}
