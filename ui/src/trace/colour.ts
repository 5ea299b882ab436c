/** A service's hue, the same everywhere and always: a hash of its name (FNV-1a), spread by the golden angle. */
export function hue(service: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < service.length; i++) {
    hash = Math.imul(hash ^ service.charCodeAt(i), 0x01000193) >>> 0;
  }
  return (hash * 137.508) % 360;
}

export const barColour = (service: string, dark: boolean): string =>
  `hsl(${hue(service).toFixed(0)} ${dark ? "42% 55%" : "48% 58%"})`;
