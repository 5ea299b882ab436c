import type { AnyValue } from "../api/types";

/** Three digits or so: `1.5 s`, `120 ms`, `37 µs`. */
export function duration(nanos: number): string {
  const size = Math.abs(nanos);
  const digits = (value: number, unit: string) => `${Number(value.toPrecision(3))} ${unit}`;
  if (size < 1e3) return digits(nanos, "ns");
  if (size < 1e6) return digits(nanos / 1e3, "µs");
  if (size < 1e9) return digits(nanos / 1e6, "ms");
  if (size < 120e9) return digits(nanos / 1e9, "s");
  return `${Math.floor(nanos / 60e9)} m ${Math.round((nanos % 60e9) / 1e9)} s`;
}

/** How much, in units of a thousand: `88 kB`, `3.7 MB`. */
export function size(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const unit = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  return `${Number((bytes / 1000 ** unit).toPrecision(3)).toLocaleString("en")} ${units[unit]}`;
}

/** A count with its thousands apart. */
export const count = (value: number): string => value.toLocaleString("en");

/** A mean: at most one decimal, or two if it is small. */
export const mean = (value: number): string => `${Number(value.toFixed(value < 1 ? 2 : 1))}`;

/** A name without its middle, if it is long: what tells names apart is at their ends. */
export const shortened = (name: string): string => (name.length <= 48 ? name : `${name.slice(0, 20)}…${name.slice(-27)}`);

/** A moment in local time, to the millisecond. */
export function moment(unixNano: string): string {
  const millis = Number(BigInt(unixNano) / 1_000_000n);
  const date = new Date(millis);
  if (Number.isNaN(date.getTime())) return `${unixNano} ns`;
  const pad = (value: number, width = 2) => String(value).padStart(width, "0");
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return `${day} ${pad(date.getHours())}:${pad(date.getMinutes())}:${pad(date.getSeconds())}.${pad(date.getMilliseconds(), 3)}`;
}

/** A moment as precise as a range of so many milliseconds needs. */
export function clock(millis: number, rangeMillis: number): string {
  const [day, time] = moment(`${BigInt(Math.round(millis)) * 1_000_000n}`).split(" ");
  if (rangeMillis > 14 * 86_400e3) return day;
  if (rangeMillis > 86_400e3) return `${day.slice(5)} ${time.slice(0, 5)}`;
  return rangeMillis > 10e3 ? time.slice(0, 8) : time;
}

/** How long ago, in words; the day, if it is long ago. */
export function ago(unixNano: string, nowMillis: number): string {
  const seconds = Math.max(0, nowMillis / 1e3 - Number(BigInt(unixNano) / 1_000_000n) / 1e3);
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  if (seconds < 14 * 86_400) return `${Math.round(seconds / 86_400)} d ago`;
  return moment(unixNano).slice(0, 19);
}

/** A value as people read it. */
export function text(value: AnyValue): string {
  if (value.stringValue !== undefined) return value.stringValue;
  if (value.intValue !== undefined) return value.intValue;
  if (value.boolValue !== undefined) return String(value.boolValue);
  if (value.doubleValue !== undefined) return String(value.doubleValue);
  if (value.bytesValue !== undefined) return `${value.bytesValue} (base64)`;
  if (value.arrayValue) return `[${(value.arrayValue.values ?? []).map(text).join(", ")}]`;
  if (value.kvlistValue) {
    return `{${(value.kvlistValue.values ?? []).map((pair) => `${pair.key}: ${text(pair.value)}`).join(", ")}}`;
  }
  return "";
}
