/** What the server answers, as docs/api.md has it. Moments are decimal strings; offsets and durations are numbers. */

export interface ServiceCount {
  name: string;
  spans: number;
  errors: number;
}

export interface TraceSummary {
  trace_id: string;
  root_service: string;
  root_operation: string;
  start_unix_nano: string;
  duration_nanos: number;
  spans: number;
  errors: number;
  services: ServiceCount[];
}

export interface StoreStats {
  spans: number;
  bytes: number;
  /** What recovery and reads found broken. */
  damages: string[];
  bucket: BucketStats | null;
}

/** What an answer was made without. */
export interface MissingPart {
  file: string;
  /** Its spans, if their number is known. */
  spans: number | null;
  first_start_unix_nano: string | null;
  last_start_unix_nano: string | null;
  /** If not, it cannot be read at the moment. */
  damaged: boolean;
}

export interface BucketStats {
  url: string;
  /** Why it cannot be written now. */
  away: string | null;
  /** Another server owns it by now: spans are refused. */
  away_for_good: boolean;
}

/** Where the receivers listen, such as `127.0.0.1:4318`. */
export interface OtlpAddresses {
  otlp_http: string;
  otlp_grpc: string;
}

export interface Stats {
  store: StoreStats;
  addresses: OtlpAddresses | null;
  sdks: SdkStats[];
}

export interface SearchAnswer {
  traces: TraceSummary[];
  next_cursor: string | null;
}

/** OTLP's JSON mapping of a value. */
export interface AnyValue {
  stringValue?: string;
  boolValue?: boolean;
  intValue?: string;
  doubleValue?: number | string;
  bytesValue?: string;
  arrayValue?: { values: AnyValue[] };
  kvlistValue?: { values: KeyValue[] };
}

export interface KeyValue {
  key: string;
  value: AnyValue;
}

export interface SpanEvent {
  time_nanos: number;
  name: string;
  attributes: KeyValue[];
}

export interface SpanLink {
  trace_id: string;
  span_id: string;
  attributes: KeyValue[];
}

export interface Span {
  span_id: string;
  parent_span_id: string | null;
  parent: number | null;
  depth: number;
  name: string;
  service: string;
  kind: string;
  status: { code: string; message: string };
  start_nanos: number;
  duration_nanos: number;
  self_nanos: number;
  critical_nanos: number;
  drag_nanos: number;
  slack_nanos: number | null;
  resource: number;
  scope: number;
  trace_state: string;
  attributes: KeyValue[];
  events: SpanEvent[];
  links: SpanLink[];
}

export interface TraceDetail {
  trace_id: string;
  root_service: string;
  root_operation: string;
  start_unix_nano: string;
  duration_nanos: number;
  services: ServiceCount[];
  notes: Record<string, number>;
  resources: { service: string; attributes: KeyValue[] }[];
  scopes: { name: string; version: string; attributes: KeyValue[] }[];
  critical_path: { span: number; start_nanos: number; duration_nanos: number }[];
  total_spans: number;
  /** Whether all of them are here; otherwise some cannot be read, or these are the first by start. */
  complete: boolean;
  spans: Span[];
}

/** What the SDKs of a service tell of themselves, since its processes were started. */
export interface SdkStats {
  service: string;
  recorded: number;
  exported: number;
  dropped: { reason: string; spans: number }[];
  exported_bytes: number;
  export_nanos: number;
  last_unix_nano: string;
}

export interface WhyGroup {
  traces: number;
  median_nanos: number;
  start_unix_nano: string;
  end_unix_nano: string;
}

/** A place that slow requests spend more time at than normal ones. */
export interface Finding {
  rank: number;
  kind: string;
  service: string;
  operation: string;
  edge: { from: string; to: string } | null;
  added_nanos: number;
  share: number;
  /** Low and high end of what it adds, with a confidence of 95 %. */
  confidence: [number, number];
  /** Two parts that make what it adds. */
  slower_nanos: number;
  more_often_nanos: number;
  significant: boolean;
  examples: string[];
  normal_examples: string[];
  sentence: string;
  /** What the slow spans there have in common, the most telling first. */
  attributes?: { key: string; value: string; lift: number; p_value: number }[];
  /** When it began, if that can be told. */
  since_unix_nano?: string | null;
}

export interface Why {
  summary: string;
  significant: boolean;
  slow: WhyGroup;
  normal: WhyGroup;
  added_nanos: number;
  findings: Finding[];
  caveats: string[];
}

/** One of two sets of traces; often a single one. */
export interface ComparedSide {
  traces: number;
  /** Whether that is all of them. */
  complete: boolean;
  spans: number;
  errors: number;
  /** A mean over the traces. */
  duration_nanos: number;
  root_service: string;
  root_operation: string;
  start_unix_nano: string;
  end_unix_nano: string;
  /** Some of the traces. */
  examples: string[];
}

/** What the traces of a side did at a call path; each figure is a mean over them. */
export interface PathStats {
  calls: number;
  duration_nanos: number;
  self_nanos: number;
  critical_nanos: number;
  errors: number;
  /** The longest of its spans: what to look at. */
  longest: { trace_id: string; span_id: string } | null;
}

/** One call path of both sides: the same operation called from two places is two of them. */
export interface ComparedPath {
  /** Its place in the list; the parent comes before. */
  parent: number | null;
  depth: number;
  service: string;
  operation: string;
  kind: string;
  presence: "both" | "new" | "missing";
  a: PathStats;
  b: PathStats;
}

export interface Comparison {
  summary: string;
  a: ComparedSide;
  b: ComparedSide;
  paths: ComparedPath[];
  caveats: string[];
}
