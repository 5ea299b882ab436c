import type { BucketStats } from "../api/types";

/** What it means that the bucket is away, in a sentence; null if it is not. */
export function awaySentence(bucket: BucketStats | null): string | null {
  if (!bucket?.away) return null;
  return bucket.away_for_good
    ? "The bucket is lost to this server, which refuses spans and questions; what it took before is kept"
    : "Segments cannot be written to the bucket now; spans wait in the log and are kept until it is back";
}
