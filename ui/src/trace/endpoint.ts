/**
 * What programs are told to send spans there: a line for a shell. Who listens on every address is reached by the name
 * that the page is reached by, as browsers write it in `location.hostname`.
 */
export function exportLine(address: string, protocol: "http/protobuf" | "grpc", pageHost: string): string {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon);
  const reached = host === "0.0.0.0" || host === "[::]" ? pageHost : host;
  return `export OTEL_EXPORTER_OTLP_ENDPOINT=http://${reached}${address.slice(colon)} OTEL_EXPORTER_OTLP_PROTOCOL=${protocol}`;
}
