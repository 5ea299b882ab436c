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

export const services = async (): Promise<string[]> => (await get<{ services: string[] }>("/services")).services;

export const operations = async (service: string): Promise<string[]> => {
  const answer = await get<{ operations: { name: string }[] }>("/operations", [["service", service]]);
  return [...new Set(answer.operations.map((operation) => operation.name))];
};

export const stats = (): Promise<Stats> => get("/stats");

export const search = (query: [string, string][]): Promise<SearchAnswer> => get("/traces", query);

export const trace = (id: string): Promise<TraceDetail> => get(`/traces/${encodeURIComponent(id)}`);

export const why = (query: [string, string][]): Promise<Why> => get("/why", query);

/** A side is a trace id, several with commas between, or conditions such as `service=cart start=-2h`. */
export const compare = (a: string, b: string): Promise<Comparison> => get("/compare", [["a", a], ["b", b]]);
