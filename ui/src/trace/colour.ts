/** A service's hue, the same everywhere and always: a hash of its name (FNV-1a, mixed as MurmurHash3 ends). */
export function hue(service: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < service.length; i++) {
    hash = Math.imul(hash ^ service.charCodeAt(i), 0x01000193) >>> 0;
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return ((hash ^ (hash >>> 16)) >>> 0) % 360;
}

/** The colour of a service's bars. Saturation and lightness are the page's, so that it follows light and dark by itself. */
export const barColour = (service: string, tone = "var(--bar-tone)"): string => `hsl(${hue(service).toFixed(0)} ${tone})`;
