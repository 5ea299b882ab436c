// The pages in Chromium, against the real binary: search, open a trace, look at a span, come back to it by its URL.
//
// TRACEWELL_BIN names the binary, SHOTS a folder for screenshots, SHOW_URL a running server to take pictures of instead.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, existsSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const binary = process.env.TRACEWELL_BIN ?? new URL("../../target/debug/tracewell", import.meta.url).pathname;
const shots = process.env.SHOTS;
const work = mkdtempSync(join(tmpdir(), "tracewell-browser-"));
const readyFile = join(work, "ready.json");

const server = spawn(
  binary,
  ["--log", "warn", "serve", "--data", ":memory:", "--http", "127.0.0.1:0", "--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0", "--ready-file", readyFile],
  { stdio: ["ignore", "ignore", "inherit"] },
);
const passed = [];
/** How long anything may take on a busy machine. */
const PATIENCE_MILLIS = 120_000;

async function until(what, check) {
  const end = performance.now() + PATIENCE_MILLIS;
  while (!check()) {
    if (server.exitCode !== null) throw new Error(`${what} did not happen: the server ended with ${server.exitCode}`);
    if (performance.now() > end) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

const hex = (number, digits) => number.toString(16).padStart(digits, "0");
const now = BigInt(Date.now()) * 1_000_000n;

/** A trace of `count` spans: a root in the shop, children in other services, one that failed. */
function request(traceNumber, count) {
  const services = ["shop", "cart", "payment", "stock"];
  const spans = services.map(() => []);
  for (let i = 0; i < count; i++) {
    const start = now - 5_000_000_000n + BigInt(i) * 50_000n;
    spans[i % 4].push({
      traceId: hex(traceNumber, 32),
      spanId: hex(i + 1, 16),
      parentSpanId: i === 0 ? "" : hex(Math.floor((i - 1) / 3) + 1, 16),
      name: i === 0 ? "POST /checkout" : `step ${i}`,
      kind: i === 0 ? 2 : 1,
      startTimeUnixNano: String(start),
      endTimeUnixNano: String(i === 0 ? start + 2_000_000_000n : start + 1_000_000n * BigInt(i === 5 ? 1200 : 5 + (i % 50))),
      attributes: [{ key: "request.id", value: { stringValue: `r-${i}` } }, { key: "step.number", value: { intValue: String(i) } }],
      ...(i === 5 ? { attributes: [{ key: "tracewell.pending", value: { boolValue: true } }] } : {}),
      events: i === 2 ? [{ timeUnixNano: String(start + 1000n), name: "exception" }] : [],
      status: i === 2 ? { code: 2, message: "card declined" } : {},
    });
  }
  return {
    resourceSpans: services.map((service, place) => ({
      resource: { attributes: [{ key: "service.name", value: { stringValue: service } }] },
      scopeSpans: [{ spans: spans[place] }],
    })),
  };
}

async function check(name, run) {
  await run();
  passed.push(name);
  console.log(`ok ${name}`);
}

let browser;
try {
  await until("the server's start", () => existsSync(readyFile));
  const { http, otlp_http: otlp, otlp_grpc: otlpGrpc } = JSON.parse(readFileSync(readyFile, "utf8"));
  async function send(to, trace, count) {
    const answer = await fetch(`${to}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request(trace, count)),
    });
    assert.equal(answer.status, 200);
    assert.equal(await answer.text(), "{}");
  }

  browser = await chromium.launch({
    timeout: PATIENCE_MILLIS,
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
  page.setDefaultTimeout(PATIENCE_MILLIS);
  // The browser tells of a new URL in its own time.
  const here = () => page.evaluate(() => location.href);
  const complaints = [];
  const origin = process.env.SHOW_URL ?? `http://${http}`;
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (sent) => {
    if (!sent.url().startsWith(origin) && !sent.url().startsWith("data:")) complaints.push(`request to ${sent.url()}`);
  });
  const shot = async (name) => shots && (await page.screenshot({ path: join(shots, `${name}.png`) }));

  if (process.env.SHOW_URL) {
    await page.goto(`${origin}/search?limit=200`);
    await page.waitForSelector(".results li");
    await shot("search");
    await page.goto(`${origin}${process.env.SHOW_TRACE}`);
    await page.waitForSelector('[role="treeitem"]');
    await shot("trace");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.reload();
    await page.waitForSelector('[role="treeitem"]');
    await shot("trace-dark");
    await page.setViewportSize({ width: 800, height: 600 });
    await shot("trace-narrow");
  } else {
    await check("a server without spans says where to send them, and shows them once they come", async () => {
      await page.goto(`${origin}/`);
      await page.getByRole("heading", { name: "No spans yet" }).waitFor();
      const lines = await page.locator("pre").allInnerTexts();
      const [{ endpoint }, { grpc }] = [/ENDPOINT=(?<endpoint>\S+) .*=http\/protobuf$/, /=http:\/\/(?<grpc>\S+) .*=grpc$/].map((line, place) => line.exec(lines[place]).groups);
      assert.equal(grpc, otlpGrpc);
      await shot("empty");
      await page.setViewportSize({ width: 360, height: 640 });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 360);
      await shot("empty-narrow");
      await page.setViewportSize({ width: 1280, height: 800 });
      await page.goto(`${origin}/why`);
      await page.getByRole("status").getByText(`There are no spans yet. Let a service send some to this server by OTLP, to port ${endpoint.split(":").at(-1)} (HTTP)`).waitFor();
      await shot("why-empty");
      await page.goto(`${origin}/`);
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin });
      await page.getByRole("button", { name: "Copy" }).first().click();
      await page.getByRole("button", { name: "Copied" }).waitFor();
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), lines[0]);
      await send(endpoint, 0xabc, 40);
      await page.waitForSelector(".results li");
      await send(endpoint, 0xdef, 20_000);
    });
    await check("a search without conditions finds both traces", async () => {
      await page.goto(`${origin}/`);
      await page.waitForSelector(".results li");
      assert.equal(await page.locator(".results li").count(), 2);
      await shot("search");
    });
    await check("what SDKs dropped stands under the results", async () => {
      const sum = (name, dataPoints) => ({ name, sum: { aggregationTemporality: 2, isMonotonic: true, dataPoints } });
      const told = { timeUnixNano: String(now) };
      const dropped = { ...told, asInt: "256", attributes: [{ key: "error.type", value: { stringValue: "queue_full" } }] };
      const metrics = [
        sum("otel.sdk.exporter.span.exported", [{ ...told, asInt: "40" }, dropped]),
        sum("tracewell.sdk.exporter.time", [{ ...told, asInt: "3000000" }]),
      ];
      const resource = { attributes: [{ key: "service.name", value: { stringValue: "shop" } }] };
      const answer = await fetch(`http://${otlp}/v1/metrics`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ resourceMetrics: [{ resource, scopeMetrics: [{ metrics }] }] }),
      });
      assert.equal(answer.status, 200);
      await page.reload();
      await page.locator(".sdks summary").click();
      assert.match(await page.locator(".sdks").innerText(), /296 spans, 256 dropped before they came here; sending took 3 ms/);
      assert.match(await page.locator(".sdks table").innerText(), /256 queue_full/);
      await shot("search-sdks");
    });
    await check("a search by tag is in the URL and finds one", async () => {
      await page.getByLabel("Tags").fill("step.number=19999");
      await page.getByRole("button", { name: "Find traces" }).click();
      await page.waitForURL(/tags=step\.number/);
      await page.waitForFunction(() => document.querySelectorAll(".results li").length === 1);
    });
    await check("a click on a result opens its trace", async () => {
      await page.goto(`${origin}/search?tags=step.number%3D39`);
      await page.locator(".results a", { hasText: "40 spans" }).click();
      await page.waitForURL(/\/trace\/0*abc$/);
      // At first there are only as many as there is room for in a list without a height.
      await page.waitForFunction(() => document.querySelectorAll('[role="treeitem"]').length > 10);
      assert.match(await page.title(), /shop: POST \/checkout/);
    });
    await check("who comes back from a trace finds the list as it was, without asking anew", async () => {
      await page.setViewportSize({ width: 1280, height: 300 });
      await page.goto(`${origin}/`);
      await page.waitForSelector(".results li");
      const result = page.locator(".results a", { hasText: "40 spans" });
      await result.scrollIntoViewIfNeeded();
      const place = await page.evaluate(() => scrollY);
      assert.equal(place > 50, true, `scrolled to ${place}`);
      const asked = [];
      page.on("request", (sent) => sent.url().includes("/api/v1/traces?") && asked.push(sent.url()));
      await result.click();
      await page.waitForSelector('[role="treeitem"]');
      assert.equal(await page.evaluate(() => scrollY), 0);
      await page.goBack();
      await page.waitForFunction((place) => document.querySelectorAll(".results li").length === 2 && scrollY === place, place);
      assert.deepEqual(asked, []);
      await page.setViewportSize({ width: 1280, height: 800 });
      await page.goForward();
      await page.waitForSelector('[role="treeitem"]');
    });
    await check("a span's details open, and its URL leads back to it", async () => {
      await page.locator('[role="treeitem"] .open', { hasText: / step 2$/ }).first().click();
      await page.waitForSelector(".details");
      await page.waitForURL(/span=/);
      assert.match(await page.locator(".details").innerText(), /card declined/);
      await page.reload();
      await page.waitForSelector(".details");
      assert.match(await page.locator(".details").innerText(), /r-2/);
      await shot("trace");
    });
    await check("a span that had not ended is marked in words", async () => {
      assert.match(await page.locator(".note").innerText(), /1 span was still open when last heard of/);
      await page.locator('[role="treeitem"] .open', { hasText: / step 5$/ }).first().click();
      await page.waitForFunction(() => document.querySelector(".details")?.textContent?.includes("still open when last heard of"));
      assert.equal(await page.locator(".barbox.pending").count(), 1);
      const hatching = await page.locator(".barbox.pending").evaluate((bar) => getComputedStyle(bar).backgroundImage);
      assert.match(hatching, /gradient/);
      await shot("trace-pending");
    });
    await check("keys move the selection, and escape ends it", async () => {
      const before = await here();
      await page.keyboard.press("j");
      await page.waitForFunction((url) => location.href !== url, before);
      // The row has the focus, so arrows go on from there.
      await page.waitForFunction(() => document.activeElement === document.querySelector(".row.selected .open"));
      await page.keyboard.press("ArrowUp");
      await page.waitForFunction((url) => location.href === url, before);
      await page.keyboard.press("Escape");
      await page.waitForFunction(() => document.querySelectorAll(".details").length === 0);
    });
    await check("folding hides a subtree and finding opens it", async () => {
      await page.keyboard.press("[");
      await page.waitForFunction(() => document.querySelectorAll('[role="treeitem"]').length === 4);
      await page.getByLabel("Find in spans").fill("r-39");
      await page.keyboard.press("Enter");
      await page.waitForSelector(".row.selected.hit");
    });
    await check("a trace of 20,000 spans shows and scrolls with few elements", async () => {
      await page.goto(`${origin}/trace/def`);
      await page.waitForSelector('[role="treeitem"]');
      await page.locator(".list").evaluate((list) => (list.scrollTop = list.scrollHeight));
      await page.waitForFunction(() => {
        const list = document.querySelector(".list");
        const { top, bottom } = list.getBoundingClientRect();
        const inSight = (row) => row.getBoundingClientRect().bottom > top && row.getBoundingClientRect().top < bottom;
        return list.scrollTop > 19_000 * 26 && [...document.querySelectorAll('[role="treeitem"]')].some(inSight);
      });
      const count = await page.locator('[role="treeitem"]').count();
      assert.equal(count > 5 && count < 100, true, `${count} rows are in the document`);
      await shot("trace-20000");
    });
    await check("the page that asks why says when there is too little to compare, and keeps its question in the URL", async () => {
      await page.goto(`${origin}/`);
      await page.getByRole("link", { name: "Why", exact: true }).click();
      await page.waitForSelector(".summary");
      await page.getByLabel("Service").fill("shop");
      await page.getByLabel("Compared with").selectOption("before");
      await page.getByRole("button", { name: "Ask why" }).click();
      await page.waitForURL(/service=shop&baseline=before/);
      await page.waitForSelector(".summary");
      await shot("why");
    });
    await check("two traces are compared by call path, and the URL keeps how", async () => {
      const one = (traceNumber, times) => {
        const span = (number, parent, name, from, to) => ({
          traceId: hex(traceNumber, 32), spanId: hex(number, 16), parentSpanId: parent === 0 ? "" : hex(parent, 16), name, kind: 1,
          startTimeUnixNano: String(now + BigInt(from) * 1_000_000n), endTimeUnixNano: String(now + BigInt(to) * 1_000_000n),
        });
        const queries = [...Array(times).keys()].map((time) => span(9 + time, 2, "SELECT", 20 + 50 * time, 60 + 50 * time));
        const last = times === 1 ? span(3, 1, "greet", 62, 64) : span(3, 1, "apologise", 320, 330);
        return [span(1, 0, "GET /order", 0, 20 + 50 * times + 30), span(2, 1, "load", 10, 20 + 50 * times), ...queries, last];
      };
      const resource = { attributes: [{ key: "service.name", value: { stringValue: "orders" } }] };
      const answer = await fetch(`http://${otlp}/v1/traces`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ resourceSpans: [{ resource, scopeSpans: [{ spans: [...one(0xa1, 1), ...one(0xb2, 6)] }] }] }),
      });
      assert.equal(answer.status, 200);
      await page.goto(`${origin}/trace/a1`);
      const asked = page.getByRole("button", { name: "Compare with…" });
      await asked.click();
      await page.keyboard.press("Escape");
      await page.waitForFunction(() => document.activeElement?.textContent === "Compare with…");
      assert.equal(await page.getByLabel("Trace id to compare with").count(), 0);
      await asked.click();
      await page.keyboard.type("b2");
      await page.keyboard.press("Enter");
      await page.waitForURL(/\/compare\?a=a1&b=b2$/);
      const rows = page.locator("tbody tr");
      await rows.first().waitFor();
      assert.match(await page.getByRole("status").first().innerText(), /B took 250 ms longer than A.*orders: SELECT, called 6 times instead of once/);
      assert.match(await rows.first().innerText(), /SELECT[^]*1 call[^]*6 calls[^]*\+200 ms/);
      assert.match(await rows.filter({ hasText: "apologise" }).innerText(), /new in B[^]*not called/);
      assert.match(await rows.filter({ hasText: "greet" }).innerText(), /missing in B[^]*not called/);
      await shot("compare");
      await page.getByLabel("Order").selectOption("tree");
      await page.waitForURL(/order=tree/);
      await page.reload();
      await rows.first().waitFor();
      assert.match(await rows.first().innerText(), /GET \/order/);
      assert.equal(await page.getByLabel("Order").inputValue(), "tree");
      await page.getByRole("button", { name: "Swap" }).click();
      await page.waitForURL(/a=b2&b=a1&order=tree/);
      await page.getByText("B took 250 ms less than A").waitFor();
    });
    await check("a trace is compared with a set of traces, chosen by conditions", async () => {
      await page.getByLabel("A", { exact: true }).fill("a1");
      await page.getByLabel("B", { exact: true }).fill('service=orders operation="GET /order" start=-1h end=2100-01-01T00:00:00Z');
      await page.getByRole("button", { name: "Compare", exact: true }).click();
      await page.getByText("B took 125 ms longer than A on average").waitFor();
      assert.match(await page.locator("dl").innerText(), /mean of 2 traces/);
      assert.match(await page.locator("tbody tr", { hasText: "SELECT" }).innerText(), /1 call\b[^]*3.5 calls/);
      await page.locator("tbody tr", { hasText: "apologise" }).getByRole("link").click();
      await page.waitForURL(/\/trace\/0*b2\?span=0*3$/);
      await page.waitForSelector(".details");
      await page.getByRole("button", { name: "Compare with…" }).click();
      assert.match(await page.getByRole("link", { name: "of its kind in the hour before" }).getAttribute("href"), /service%3D%22orders%22/);
    });
    await check("every page says how much is kept, and what is damaged", async () => {
      await page.goto(`${origin}/why`);
      assert.match(await page.locator("footer").innerText(), /spans kept/);
      assert.equal(await page.locator("footer details").count(), 0);
      await page.route("**/api/v1/stats", async (route) => {
        const answer = await (await route.fetch()).json();
        answer.store.damages = ["segment 0000000007.segment at offset 12: a block: its 40 spans are lost"];
        await route.fulfill({ json: answer });
      });
      await page.goto(`${origin}/why`);
      await page.getByText("The store is damaged in one place").click();
      assert.match(await page.locator("footer li").innerText(), /0000000007\.segment at offset 12/);
      await shot("damaged");
      await page.unroute("**/api/v1/stats");
    });
    await check("every page says that the bucket is away, and no longer once it is back", async () => {
      const bucket = { url: "s3://spans/a", away: null, away_for_good: false };
      const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
      page.setDefaultTimeout(PATIENCE_MILLIS);
      await page.clock.install();
      await page.route("**/api/v1/stats", async (route) => {
        const answer = await (await route.fetch()).json();
        await route.fulfill({ json: { ...answer, store: { ...answer.store, bucket } } });
      });
      await page.goto(`${origin}/why`);
      await page.locator("footer", { hasText: "spans kept" }).waitFor();
      assert.equal(await page.locator("footer details").count(), 0);
      bucket.away = "claim s3://spans/a/catalog.json: error sending request for url (http://127.0.0.1:9000/spans/a/catalog.json)";
      await page.clock.runFor(31_000);
      await page.getByRole("status").getByText(/cannot be written to the bucket now; spans wait in the log and are kept/).click();
      assert.match(await page.locator("footer").innerText(), /error sending request/);
      if (shots) await page.screenshot({ path: join(shots, "away.png") });
      // What the reader has opened stays open while it is asked again.
      await page.clock.runFor(6_000);
      assert.equal(await page.locator("footer details[open]").count(), 1);
      bucket.away = null;
      await page.clock.runFor(6_000);
      await page.waitForFunction(() => document.querySelectorAll("footer details").length === 0);
      await page.close();
    });
    await check("colours follow the system from light to dark and back without a reload", async () => {
      /** The average colour of what a canvas shows, and the colour of a service's mark. */
      const colours = () =>
        page.evaluate(() => {
          const canvas = document.querySelector("canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const sums = [0, 0, 0];
          for (let at = 0; at < data.length; at += 4) [0, 1, 2].forEach((part) => (sums[part] += data[at + part]));
          return { canvas: String(sums), mark: getComputedStyle(document.querySelector(".chip i, .services i")).backgroundColor };
        });
      for (const [path, ready] of [["/search", ".results li"], ["/trace/abc", '[role="treeitem"]']]) {
        await page.emulateMedia({ colorScheme: "light" });
        await page.goto(`${origin}${path}`);
        await page.waitForSelector(ready);
        await page.waitForFunction(() => document.querySelector("canvas").getContext("2d").getImageData(0, 0, 1e3, 50).data.some(Boolean));
        const light = await colours();
        for (const scheme of ["dark", "light"]) {
          await page.emulateMedia({ colorScheme: scheme });
          await page.waitForFunction((isDark) => matchMedia("(prefers-color-scheme: dark)").matches === isDark, scheme === "dark");
          await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
          const now = await colours();
          for (const what of ["canvas", "mark"]) assert.equal(now[what] === light[what], scheme === "light", `${what} on ${path} in ${scheme}`);
        }
      }
    });
    await check("nothing was logged as an error and no other origin was asked", () => {
      assert.deepEqual(complaints, []);
    });
    await check("an address without a page leads back", async () => {
      assert.equal((await page.goto(`${origin}/traces`)).status(), 404);
      await page.getByRole("link", { name: "Search for traces" }).click();
      await page.waitForURL(`${origin}/`);
      assert.equal((await fetch(`${origin}/api/v1/nothing`)).headers.get("content-type").includes("html"), false);
    });
    await check("an unknown trace says so", async () => {
      await page.goto(`${origin}/trace/123456`);
      assert.match(await page.getByRole("alert").innerText(), /no such trace/);
      await page.goto(`${origin}/compare?a=a1&b=123456`);
      assert.match(await page.getByRole("alert").innerText(), /^B: there is no trace 0*123456\. It may be older/);
    });
    await check("what is wrong with a side of a comparison is said of it", async () => {
      await page.goto(`${origin}/compare?a=a1&b=servce%3Dcart`);
      assert.match(await page.getByRole("alert").innerText(), /^B: servce: there is no parameter/);
    });
  }
} finally {
  await browser?.close();
  if (server.exitCode === null) {
    server.kill("SIGTERM");
    await new Promise((resolve) => server.once("exit", resolve));
  }
  rmSync(work, { recursive: true, force: true });
}
console.log(`${passed.length} passed, 0 failed`);
