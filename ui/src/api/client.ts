import type { Comparison, MissingPart, SearchAnswer, Stats, TraceDetail, Why } from "./types";

/** What the server refused, with the parameter to blame if there is one. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
    readonly field: string | null,
  ) {
    super(message);
  }
}

async function get<T>(path: string, query: [string, string][] = []): Promise<T> {
  const search = new URLSearchParams(query.filter(([, value]) => value !== "")).toString();
  let response: Response;
  try {
    response = await fetch(`/api/v1${path}${search ? `?${search}` : ""}`);
  } catch {
    throw new ApiError("The server does not answer. Is it still running?", 0, null);
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) {
    const error = answer.error ?? {};
    throw new ApiError(error.message ?? `The server answered ${response.status}.`, response.status, error.field ?? null);
  }
  if (answer.complete === false && Array.isArray(answer.missing)) onIncomplete(answer.missing);
  return answer as T;
}

let onIncomplete: (missing: MissingPart[]) => void = () => {};

/** Has someone told of what answers were made without. */
export function tellIncomplete(tell: (missing: MissingPart[]) => void): void {
  onIncomplete = tell;
}

/** Some names, and whether these are all. */
export interface Names {
  names: string[];
  complete: boolean;
}

export const services = async (): Promise<Names> => {
  const answer = await get<{ services: string[]; complete: boolean }>("/services");
  return { names: answer.services, complete: answer.complete };
};

export const operations = async (service: string): Promise<Names> => {
  const answer = await get<{ operations: { name: string }[]; complete: boolean }>("/operations", [["service", service]]);
  return { names: [...new Set(answer.operations.map((operation) => operation.name))], complete: answer.complete };
};

export const stats = (): Promise<Stats> => get("/stats");

export const search = (query: [string, string][]): Promise<SearchAnswer> => get("/traces", query);

/** Of a very large trace, the first spans: as many as a page draws in a few seconds. */
export const trace = (id: string): Promise<TraceDetail> => get(`/traces/${encodeURIComponent(id)}`, [["max_spans", "200000"]]);

/** All of a trace's spans, however many there are. */
export const otlpUrl = (id: string): string => `/api/v1/traces/${encodeURIComponent(id)}/otlp`;

export const why = (query: [string, string][]): Promise<Why> => get("/why", query);

/** A side is a trace id, several with commas between, or conditions such as `service=cart start=-2h`. */
export const compare = (a: string, b: string): Promise<Comparison> => get("/compare", [["a", a], ["b", b]]);
