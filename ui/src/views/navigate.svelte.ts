/** The URL as state: pages read it, links and forms change it. */
export const location = $state({ path: window.location.pathname, search: window.location.search });

function read(): void {
  location.path = window.location.pathname;
  location.search = window.location.search;
}

window.addEventListener("popstate", read);

export function go(url: string, replace = false): void {
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  read();
}

/** Lets plain clicks on links of this site go without loading the page anew. */
export function follow(event: MouseEvent): void {
  const link = (event.target as Element | null)?.closest?.("a");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.target || link.hasAttribute("download") || link.origin !== window.location.origin) return;
  if (link.pathname.startsWith("/api/")) return;
  event.preventDefault();
  go(link.pathname + link.search);
}
