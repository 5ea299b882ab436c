/** The search form as it stands in the URL. */
export interface SearchForm {
  service: string;
  operation: string;
  tags: string;
  min: string;
  max: string;
  errors: boolean;
  lookback: string;
  limit: string;
}

export const LOOKBACKS = ["15m", "1h", "6h", "24h", "168h"];

export const EMPTY_FORM: SearchForm = {
  service: "",
  operation: "",
  tags: "",
  min: "",
  max: "",
  errors: false,
  lookback: "1h",
  limit: "20",
};

export function formFromUrl(url: URLSearchParams): SearchForm {
  const form = { ...EMPTY_FORM };
  for (const key of ["service", "operation", "tags", "min", "max", "lookback", "limit"] as const) {
    form[key] = url.get(key) ?? form[key];
  }
  form.errors = url.get("errors") === "1";
  return form;
}

/** Only what differs from the empty form, so that URLs stay short. */
export function formToUrl(form: SearchForm): string {
  const url = new URLSearchParams();
  for (const key of ["service", "operation", "tags", "min", "max", "lookback", "limit"] as const) {
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
  // A cursor carries the window of the first page.
  if (cursor === null) query.push(["start", `-${form.lookback}`]);
  else query.push(["cursor", cursor], ["start", `-${form.lookback}`]);
  return query;
}
