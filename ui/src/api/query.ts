/** The search form as it stands in the URL. */
export interface SearchForm {
  service: string;
  operation: string;
  tags: string;
  min: string;
  max: string;
  errors: boolean;
  /** A duration before now, `all`, or `between` for the moments below. */
  lookback: string;
  /** Local date and time as an `<input type="datetime-local">` has it; empty is open. */
  from: string;
  to: string;
  limit: string;
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

function timeToQuery(form: SearchForm): [string, string][] {
  const moment = (local: string) => `${BigInt(new Date(local).getTime()) * 1_000_000n}`;
  if (form.lookback === "all") return [["start", "0"], ["end", END_OF_TIME]];
  if (form.lookback === "between") {
    return [["start", form.from ? moment(form.from) : "0"], ["end", form.to ? moment(form.to) : END_OF_TIME]];
  }
  return [["start", `-${form.lookback}`]];
}
