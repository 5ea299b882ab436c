import type { SdkStats } from "../api/types";
import { count, duration } from "./format";

export const droppedOf = (sdk: SdkStats): number => sdk.dropped.reduce((sum, drop) => sum + drop.spans, 0);

export const droppedBySdks = (sdks: SdkStats[]): number => sdks.reduce((sum, sdk) => sum + droppedOf(sdk), 0);

/** Whether anything is dropped, and what tracing costs, in a sentence. */
export function sdkSentence(sdks: SdkStats[]): string {
  const spans = sdks.reduce((sum, sdk) => sum + sdk.recorded, 0);
  const dropped = droppedBySdks(sdks);
  const nanos = sdks.reduce((sum, sdk) => sum + sdk.export_nanos, 0);
  const who = sdks.length === 1 ? `${sdks[0].service} tells of its tracing` : `${sdks.length} services tell of their tracing`;
  const lost = dropped === 0 ? "none dropped before they came here" : `${count(dropped)} dropped before they came here`;
  return `${who}: ${count(spans)} spans, ${lost}${nanos > 0 ? `; sending took ${duration(nanos)}` : ""}.`;
}
