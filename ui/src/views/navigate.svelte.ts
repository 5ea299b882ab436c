/** The URL as state: pages read it, links and forms change it. */
export const location = $state({ path: window.location.pathname, search: window.location.search });

/** Whether the browser's buttons led here: what the reader saw is to be there again. */
let isReturn = false;
export const cameBack = (): boolean => isReturn;

function read(): void {
  location.path = window.location.pathname;
  location.search = window.location.search;
}

window.addEventListener("popstate", () => {
  isReturn = true;
  read();
});

export function go(url: string, replace = false): void {
  isReturn = false;
  const before = location.path;
  if (replace) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
  read();
  // Another page begins at its top.
  if (location.path !== before) window.scrollTo(0, 0);
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
