/** A choice of time as it stands in the URL. */
export interface TimeChoice {
  /** A duration before now, `all`, or `between` for the moments below. */
  lookback: string;
  /** Local date and time as an `<input type="datetime-local">` has it; empty is open. */
  from: string;
  to: string;
}

/** The search form as it stands in the URL. */
export interface SearchForm extends TimeChoice {
  service: string;
  operation: string;
  tags: string;
  min: string;
  max: string;
  errors: boolean;
  limit: string;
}

/** The form of the page that asks why. */
export interface WhyForm extends TimeChoice {
  service: string;
  operation: string;
  /** What slow requests are compared with: empty for the faster ones of the same time, or `before`. */
  baseline: string;
}

export const LOOKBACKS: [string, string][] = [
  ["15m", "last 15 min"],
  ["1h", "last hour"],
  ["6h", "last 6 hours"],
  ["24h", "last 24 hours"],
  ["168h", "last 7 days"],
  ["all", "any time"],
  ["between", "between …"],
];

export const EMPTY_FORM: SearchForm = {
  service: "",
  operation: "",
  tags: "",
  min: "",
  max: "",
  errors: false,
  lookback: "1h",
  from: "",
  to: "",
  limit: "20",
};

export const EMPTY_WHY: WhyForm = { service: "", operation: "", lookback: "1h", from: "", to: "", baseline: "" };

const FIELDS = ["service", "operation", "tags", "min", "max", "lookback", "from", "to", "limit"] as const;

export function formFromUrl(url: URLSearchParams): SearchForm {
  const form = { ...EMPTY_FORM };
  for (const key of FIELDS) {
    form[key] = url.get(key) ?? form[key];
  }
  form.errors = url.get("errors") === "1";
  return form;
}

/** Only what differs from the empty form, so that URLs stay short. */
export function formToUrl(form: SearchForm): string {
  const url = new URLSearchParams();
  for (const key of FIELDS) {
    if (form[key] !== EMPTY_FORM[key]) url.set(key, form[key]);
  }
  if (form.errors) url.set("errors", "1");
  return url.toString();
}

const WHY_FIELDS = Object.keys(EMPTY_WHY) as (keyof WhyForm)[];

export function whyFromUrl(url: URLSearchParams): WhyForm {
  return Object.fromEntries(WHY_FIELDS.map((key) => [key, url.get(key) ?? EMPTY_WHY[key]])) as unknown as WhyForm;
}

export function whyToUrl(form: WhyForm): string {
  return new URLSearchParams(WHY_FIELDS.filter((key) => form[key] !== EMPTY_WHY[key]).map((key) => [key, form[key]])).toString();
}

export function whyToQuery(form: WhyForm): [string, string][] {
  const query: [string, string][] = [["service", form.service], ["operation", form.operation], ...timeToQuery(form)];
  if (form.baseline === "before") query.push(...before(form));
  return query;
}

/** The time just before the chosen one, and as long; nothing for a choice that has no length. */
function before({ lookback, from, to }: TimeChoice): [string, string][] {
  if (lookback === "between" && from && to) {
    const [start, end] = [new Date(from).getTime(), new Date(to).getTime()];
    const nanos = (millis: number) => `${BigInt(millis) * 1_000_000n}`;
    return [["baseline_start", nanos(2 * start - end)], ["baseline_end", nanos(start)]];
  }
  const [, number, unit] = lookback.match(/^(\d+)(\w+)$/) ?? [];
  return unit ? [["baseline_start", `-${2 * Number(number)}${unit}`], ["baseline_end", `-${lookback}`]] : [];
}

/** Where two traces are compared. */
export function compareToUrl(first: string, second: string): string {
  return `/compare?${new URLSearchParams({ a: first.trim(), b: second.trim() })}`;
}

/** `a=1 b="two words"` as a list of tags. */
export function splitTags(text: string): string[] {
  const parts = text.match(/(?:[^\s"]+|"[^"]*")+/g) ?? [];
  return parts.map((part) => part.replaceAll('"', ""));
}

/** The form as the API's parameters. */
export function formToQuery(form: SearchForm, cursor: string | null): [string, string][] {
  const query: [string, string][] = [
    ["service", form.service],
    ["operation", form.operation],
    ["min_duration", form.min],
    ["max_duration", form.max],
    ["status", form.errors ? "error" : ""],
    ["limit", form.limit],
  ];
  for (const tag of splitTags(form.tags)) query.push(["tag", tag]);
  // A cursor carries the window of the first page; its other conditions are said again.
  if (cursor !== null) query.push(["cursor", cursor]);
  query.push(...timeToQuery(form));
  return query;
}

/** The last moment that nanoseconds in 64 bits can say, so that spans with a clock in the future are found, too. */
const END_OF_TIME = "18446744073709551615";

function timeToQuery(form: TimeChoice): [string, string][] {
  const moment = (local: string) => `${BigInt(new Date(local).getTime()) * 1_000_000n}`;
  if (form.lookback === "all") return [["start", "0"], ["end", END_OF_TIME]];
  if (form.lookback === "between") {
    return [["start", form.from ? moment(form.from) : "0"], ["end", form.to ? moment(form.to) : END_OF_TIME]];
  }
  return [["start", `-${form.lookback}`]];
}
