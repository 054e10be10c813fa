// Opens every page in Chromium, on a wide and a narrow screen, in light and dark, and looks at it as people would. Writes
// a line of JSON for each check, and a picture of each page when PIOOY_PICTURES names a directory.

import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

const require = createRequire(`${process.env.CLIENTS_NODE}/`);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const ROOT = process.env.PIOOY_URL;
const PATIENCE = 60_000;
/** What a page may bring over the wire with all that it loads but pictures and videos, in bytes. */
const WEIGHT_MAX = 100_000;
/** How long pictures and scripts of a page that is looked at are held back, in milliseconds. */
const LATE = 150;
const SCREENS = { wide: { width: 1440, height: 900 }, narrow: { width: 390, height: 844 } };
const SCHEMES = ["light", "dark"];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** Notes what moves and what the policy forbids, from the first moment on. */
function watch() {
  window.moved = 0;
  window.forbidden = [];
  const note = (list) => list.getEntries().forEach((entry) => (window.moved += entry.value));
  new PerformanceObserver(note).observe({ type: "layout-shift", buffered: true });
  document.addEventListener("securitypolicyviolation", (event) => window.forbidden.push(`${event.violatedDirective} ${event.blockedURI}`));
}

/** What sticks out of the window, as selectors. */
function sticking() {
  if (document.documentElement.scrollWidth <= innerWidth) return [];
  const out = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1);
  return [`${document.documentElement.scrollWidth} pixels`, ...out.slice(0, 5).map((element) => `${element.tagName}.${element.className}`)];
}

/** What came over the wire for the page, without pictures and videos, in bytes. */
function weight() {
  const loaded = performance.getEntries().filter((entry) => entry.encodedBodySize && !["img", "video"].includes(entry.initiatorType));
  return loaded.reduce((sum, entry) => sum + entry.encodedBodySize, 0);
}

function none(found, what) {
  if (found.length > 0) throw new Error(`${what}:\n${found.join("\n")}`);
}

async function look(path, status, screen, scheme, session, whose) {
  const context = await browser.newContext({ viewport: SCREENS[screen], colorScheme: scheme, storageState: session });
  try {
    // What a page can be painted without comes later, as it does from afar: what moves to make room for it is seen here.
    await context.route(({ pathname }) => !pathname.endsWith(".svg"), async (route) => {
      if (["image", "media", "script"].includes(route.request().resourceType())) await sleep(LATE);
      await route.continue();
    });
    const page = await context.newPage();
    const complaints = [];
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (said) => said.type() === "error" && complaints.push(said.text()));
    await page.addInitScript(watch);
    const answer = await page.goto(ROOT + path, { waitUntil: "load", timeout: PATIENCE });
    if (answer.status() !== status) throw new Error(`it answers ${answer.status()}`);
    await page.waitForTimeout(100);
    none(await page.evaluate(sticking), "it is wider than the window");
    // A page that is told as missing is an error to the console.
    none(complaints.filter((text) => status === 200 || !text.includes(`status of ${status}`)), "the browser complains");
    none(await page.evaluate(() => window.forbidden), "the policy forbids");
    const moved = await page.evaluate(() => window.moved);
    if (moved !== 0) throw new Error(`what is seen moves by ${moved}`);
    const bytes = await page.evaluate(weight);
    if (bytes === 0 || bytes > WEIGHT_MAX) throw new Error(`it weighs ${bytes} bytes`);
    // After the look at what moves: for a picture of the whole page the window grows.
    if (process.env.PIOOY_PICTURES) {
      const name = path.replace(/\W+/g, "-").replace(/^-|-$/g, "") || "home";
      const prefix = whose ? `${whose}-` : "";
      await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/${prefix}${name}-${screen}-${scheme}.png`, fullPage: true });
    }
    await page.evaluate(AXE);
    const { violations } = await page.evaluate(() => axe.run());
    const told = ({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.target} ${node.failureSummary}`).join(" | ")}`;
    none(violations.map(told), "axe finds");
  } finally {
    await context.close();
  }
}

/** Runs a check and says how it went. */
async function check(name, run) {
  if (process.env.PIOOY_ONLY && !name.includes(process.env.PIOOY_ONLY)) return;
  try {
    await run();
    say({ name });
  } catch (error) {
    say({ name, why: String(error.stack) });
  }
}

const sitemap = await (await fetch(`${ROOT}/sitemap.xml`)).text();
const listed = [...sitemap.matchAll(/<loc>([^<]+)<\/loc>/g)].map(([, address]) => address.slice(ROOT.length));
const isModel = (path) => path.startsWith("/models/");
const pages = [
  ...listed.map((path) => [path, 200]),
  ["/models?media=video&tier=free", 200],
  ["/models/nano-bananna", 404],
  ["/models/sora-2", 410],
];
let models = 0;

for (const [path, status] of pages) {
  // Model pages differ in words alone: the first six are looked at in every way, the others in two.
  const whole = !isModel(path) || ++models <= 6;
  for (const screen of Object.keys(SCREENS)) {
    for (const scheme of SCHEMES) {
      if (!whole && (screen === "wide") !== (scheme === "light")) continue;
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, status, screen, scheme));
    }
  }
}

/** What a face answers whoever shows this key. */
async function asked(key) {
  const headers = { authorization: `Bearer ${key}`, "content-type": "application/json", accept: "application/json, text/event-stream" };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/list" });
  const rest = await fetch(`${ROOT}/api/v1/models`, { headers });
  const mcp = await fetch(`${ROOT}/api/mcp/mcp`, { method: "POST", headers, body });
  const grpc = await fetch(`${ROOT}/piooy.v1.CatalogService/ListModels`, {
    method: "POST",
    headers: { authorization: headers.authorization, "content-type": "application/grpc-web+proto" },
    body: new Uint8Array(5),
  });
  await grpc.arrayBuffer();
  // A refusal is its headers alone; otherwise the status follows in trailers, behind what was asked for.
  return [rest.status, mcp.status, Number(grpc.headers.get("grpc-status") ?? 0)];
}

/** The session of whoever opens a link and presses its button. */
async function signIn(link) {
  const context = await browser.newContext({ viewport: SCREENS.wide });
  const page = await context.newPage();
  await page.goto(link, { timeout: PATIENCE });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Account" }).waitFor({ timeout: PATIENCE });
  return context;
}

// A person: in by the link, a key made, copied and used, and revoked.
const person = await signIn(process.env.PIOOY_LINK);
await check("a link signs in once", async () => {
  const other = await browser.newContext();
  const page = await other.newPage();
  await page.goto(process.env.PIOOY_LINK, { timeout: PATIENCE });
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor({ timeout: PATIENCE });
  await other.close();
});
await check("a key is made, copied and used, and is refused everywhere within a second of its end", async () => {
  const page = await person.newPage();
  await page.goto(`${ROOT}/settings/apikeys`, { timeout: PATIENCE });
  await page.getByLabel("Name").fill("booth <b>1</b>");
  await page.getByLabel("Live: spends credits").check();
  await page.getByRole("button", { name: "Make the key" }).click();
  await page.getByRole("heading", { name: "Your new key" }).waitFor({ timeout: PATIENCE });
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/made.png`, fullPage: true });
  await person.grantPermissions(["clipboard-read", "clipboard-write"]);
  await page.locator(".snippet", { hasText: "piooy_live_" }).first().getByRole("button", { name: "Copy" }).click();
  const key = await page.evaluate(() => navigator.clipboard.readText());
  if (!/^piooy_live_\w+$/.test(key)) throw new Error(`what is copied is ${key}`);
  const before = await asked(key);
  if (before.join() !== "200,200,0") throw new Error(`the key is answered ${before}`);
  await page.getByRole("link", { name: "Done: I have copied it" }).click();
  if ((await page.content()).includes(key)) throw new Error("the key is shown again");
  await page.getByRole("link", { name: "Revoke booth" }).click();
  await page.getByRole("button", { name: "Revoke the key" }).click();
  await page.getByText("revoked").waitFor({ timeout: PATIENCE });
  await page.waitForTimeout(1000);
  const after = await asked(key);
  if (after.join() !== "401,401,16") throw new Error(`the revoked key is answered ${after}`);
  await page.close();
});
await check("a second member joins by invitation, with a password, and looks on", async () => {
  const page = await person.newPage();
  await page.goto(`${ROOT}/settings/account`, { timeout: PATIENCE });
  const form = page.locator("form", { hasText: "Invite somebody" });
  await form.getByLabel("E-mail address").fill("ann@example.org");
  await form.getByLabel("Role").selectOption("VIEWER");
  await form.getByRole("button").click();
  const link = await page.locator(".snippet code").textContent();
  const other = await browser.newContext();
  const guest = await other.newPage();
  await guest.goto(link, { timeout: PATIENCE });
  await guest.getByLabel("Choose a password").fill("a lighthouse at dusk");
  await guest.getByRole("button", { name: "Join" }).click();
  await guest.getByText("VIEWER").first().waitFor({ timeout: PATIENCE });
  await guest.getByRole("button", { name: "Sign out" }).click();
  await guest.getByLabel("E-mail address").fill("ann@example.org");
  await guest.getByLabel("Password").fill("a lighthouse at dusk");
  await guest.getByRole("button", { name: "Sign in" }).click();
  await guest.getByText("VIEWER").first().waitFor({ timeout: PATIENCE });
  await other.close();
  await page.close();
});
// What is made: by an agent, on the page, and what goes wrong.
const MODEL = "nano-banana-2";
let agent;
await check("what an agent makes with a key over MCP is in the history with its cost", async () => {
  const page = await person.newPage();
  await page.goto(`${ROOT}/settings/apikeys`, { timeout: PATIENCE });
  await page.getByLabel("Name").fill("agent");
  await page.getByLabel("Live: spends credits").check();
  await page.getByRole("button", { name: "Make the key" }).click();
  agent = await page.locator(".snippet", { hasText: "piooy_live_" }).first().locator("code").textContent();
  const call = { name: "generate_image", arguments: { model: MODEL, prompt: "a heron in the reeds", provider: "sandbox", wait_seconds: 50 } };
  const headers = { authorization: `Bearer ${agent}`, "content-type": "application/json", accept: "application/json, text/event-stream" };
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: call });
  const answer = await (await fetch(`${ROOT}/api/mcp/mcp`, { method: "POST", headers, body })).json();
  const task = answer.result.structuredContent.data;
  if (task.status !== "SUCCESS") throw new Error(JSON.stringify(answer));
  await page.goto(`${ROOT}/generate/history`, { timeout: PATIENCE });
  const card = page.locator(`#task-${task.taskId}`);
  await card.getByText("a heron in the reeds").first().waitFor({ timeout: PATIENCE });
  await card.getByText(`${task.credits.charged} credits`).waitFor({ timeout: PATIENCE });
  await page.close();
});
const wrong = [];
const studio = await person.newPage();
studio.on("pageerror", (error) => wrong.push(error.message));
await studio.addInitScript(watch);
/** Fills the form in, runs it, and answers the card of the task. */
async function generate(model, prompt) {
  await studio.goto(`${ROOT}/generate?model=${model}`, { timeout: PATIENCE });
  const before = await studio.locator("#gallery li").first().getAttribute("id").catch(() => "");
  await studio.getByLabel("Prompt").fill(prompt);
  await studio.locator("#price b").waitFor({ timeout: PATIENCE });
  await studio.keyboard.press("Control+Enter");
  await studio.waitForFunction((id) => (document.querySelector("#gallery li")?.id ?? "") !== id, before, { timeout: PATIENCE });
  const id = await studio.locator("#gallery li").first().getAttribute("id");
  return studio.locator(`#${id}`);
}
await check("a picture is made on the page, comes in by itself, and is shown whole", async () => {
  const card = await generate(MODEL, "a <img src=x onerror=document.title='broken'> lighthouse");
  await card.locator("img").waitFor({ timeout: PATIENCE });
  await card.getByText("Done").waitFor({ timeout: PATIENCE });
  await card.getByRole("link").click();
  const image = studio.locator(".result img");
  await image.waitFor({ timeout: PATIENCE });
  if (!(await image.evaluate((image) => image.decode().then(() => image.naturalWidth > 400)))) throw new Error("it is not a picture");
  if ((await studio.title()).includes("broken")) throw new Error("what was asked ran as a script");
  const [file] = await Promise.all([studio.waitForEvent("download"), studio.getByRole("link", { name: "Download" }).click()]);
  if (!file.suggestedFilename().endsWith(".png")) throw new Error(file.suggestedFilename());
});
await check("again and vary fill the form in", async () => {
  await studio.getByRole("link", { name: "Vary" }).click();
  await studio.waitForURL("**/generate?from=*", { timeout: PATIENCE });
  const prompt = await studio.getByLabel("Prompt").inputValue();
  if (!prompt.endsWith("lighthouse")) throw new Error(prompt);
});
await check("a video is made on the page and plays", async () => {
  const card = await generate("veo-3-1-fast", "waves, slowly");
  await card.getByText("Done").waitFor({ timeout: 3 * PATIENCE });
  await card.getByRole("link").click();
  const video = studio.locator("video");
  await video.waitFor({ timeout: PATIENCE });
  await studio.waitForFunction(() => document.querySelector("video").readyState >= 1 && document.querySelector("video").duration > 1, null, { timeout: PATIENCE });
});
await check("what fails says why, and costs nothing", async () => {
  const card = await generate(MODEL, "[sandbox:fail=content_policy] a fox");
  await card.getByText("Failed").waitFor({ timeout: PATIENCE });
  await card.getByText("nothing charged").waitFor({ timeout: PATIENCE });
});
await check("the form follows the model, and a picture that is dropped goes with it", async () => {
  await studio.goto(`${ROOT}/generate?model=${MODEL}`, { timeout: PATIENCE });
  await studio.getByLabel("Prompt").fill("the same in winter");
  await studio.getByLabel("Model").selectOption("veo-3-1");
  await studio.getByLabel("Length").waitFor({ timeout: PATIENCE });
  if ((await studio.getByLabel("Prompt").inputValue()) !== "the same in winter") throw new Error("the prompt is lost");
  await studio.getByLabel("Model").selectOption(MODEL);
  await studio.getByLabel("Length").waitFor({ state: "detached", timeout: PATIENCE });
  const picture = { name: "winter.png", mimeType: "image/png", buffer: Buffer.from(await (await fetch(`${ROOT}/web/card.png`)).arrayBuffer()) };
  await studio.locator("#files").setInputFiles(picture);
  await studio.waitForFunction(() => document.getElementById("reference_images").value.startsWith("upload://"), null, { timeout: PATIENCE });
  const before = await studio.locator("#gallery li").first().getAttribute("id");
  await studio.getByRole("button", { name: "Generate" }).click();
  await studio.waitForFunction((id) => document.querySelector("#gallery li").id !== id, before, { timeout: PATIENCE });
  await studio.locator("#gallery li").first().getByText("Done").waitFor({ timeout: PATIENCE });
});
await check("a session that has ended is said, and nothing that was filled in is lost", async () => {
  const other = await browser.newContext({ storageState: await person.storageState() });
  const page = await other.newPage();
  await page.goto(`${ROOT}/generate`, { timeout: PATIENCE });
  await page.getByLabel("Prompt").fill("kept");
  await other.clearCookies();
  await page.getByRole("button", { name: "Generate" }).click();
  await page.getByText("Your session is over").waitFor({ timeout: PATIENCE });
  if ((await page.getByLabel("Prompt").inputValue()) !== "kept") throw new Error("the prompt is lost");
  await other.close();
});
await check("without scripts a picture is made and shown all the same", async () => {
  const other = await browser.newContext({ storageState: await person.storageState(), javaScriptEnabled: false });
  const page = await other.newPage();
  await page.goto(`${ROOT}/generate?model=z-image-turbo&prompt=a+pebble`, { timeout: PATIENCE });
  await page.getByRole("button", { name: "What does it cost?" }).click();
  await page.locator("#price b").waitFor({ timeout: PATIENCE });
  await page.locator("button[value=run]").click();
  await page.waitForURL("**/generate/*-*", { timeout: PATIENCE });
  await page.locator(".result img").waitFor({ timeout: PATIENCE });
  await other.close();
});
await check("who has too few credits is told so, and nothing that was filled in is lost", async () => {
  await studio.goto(`${ROOT}/generate?model=veo-3-1`, { timeout: PATIENCE });
  for (let spent = 0; spent < 6; spent += 1) {
    await studio.getByLabel("Prompt").fill(`[sandbox:delay=60s] dear ${spent}`);
    await studio.getByRole("button", { name: "Generate" }).click();
    await studio.waitForTimeout(800);
    if (await studio.locator("#problem .notice").count()) break;
  }
  await studio.locator("#problem").getByText("credits").first().waitFor({ timeout: PATIENCE });
  if (!(await studio.getByLabel("Prompt").inputValue()).startsWith("[sandbox")) throw new Error("the prompt is lost");
});
await check("generating raised no error in the browser", async () => none(wrong, "errors"));
const shown = await (await studio.request.get(`${ROOT}/generate/history?status=SUCCESS`)).text();
/** The page of the last task whose card has what `mark` finds. */
const made = (mark) => `/generate/${/id="task-([0-9a-f-]+)"/.exec(shown.split("<li ").slice(1).find((card) => mark.test(card)))?.[1]}`;
const results = [made(/<img /), made(/class="play"/)];
await studio.close();

const session = await person.storageState();
for (const screen of Object.keys(SCREENS)) {
  for (const scheme of SCHEMES) {
    await check(`/signin, ${screen}, ${scheme}`, () => look("/signin", 200, screen, scheme));
    for (const path of ["/settings/apikeys", "/settings/account", "/generate", "/generate?model=veo-3-1", "/generate/history", ...results]) {
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, session));
    }
  }
}

// An account with a history: what it spent, and who is told.
const busy = await signIn(process.env.PIOOY_STUDIO);
await check("what was spent is shown, filtered and downloaded, also without scripts", async () => {
  const page = await (await browser.newContext({ storageState: await busy.storageState(), javaScriptEnabled: false })).newPage();
  await page.goto(`${ROOT}/settings/usage`, { timeout: PATIENCE });
  await page.getByRole("link", { name: "90 days" }).click();
  const models = await page.locator(".by-model tbody tr").count();
  if (models !== 6) throw new Error(`${models} rows of models`);
  const [all] = (await page.locator(".sums").textContent()).match(/(?<=in 90 days)[\d,]+/);
  const days = await page.locator(".dense:not(.statement) tbody tr").evaluateAll((rows) => rows.map((row) => row.cells[2].textContent));
  const sum = days.reduce((sum, text) => sum + Number(text.replaceAll(",", "")), 0);
  if (sum < 1 || sum !== Number(all.replaceAll(",", ""))) throw new Error(`the days come to ${sum}, not to ${all}`);
  await page.getByText("Filter", { exact: true }).click();
  await page.getByLabel("Given back").check();
  await page.getByRole("button", { name: "Show these" }).click();
  const kinds = await page.locator(".statement .badge").allTextContents();
  if (kinds.length !== 25 || kinds.some((kind) => kind !== "Given back")) throw new Error(`it shows ${kinds}`);
  await page.getByRole("link", { name: "Older" }).click();
  const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download as CSV" }).click()]);
  const lines = readFileSync(await file.path(), "utf8").trim().split("\r\n");
  if (file.suggestedFilename() !== "piooy-transactions.csv") throw new Error(`the file is called ${file.suggestedFilename()}`);
  if (lines.length < 30 || lines.slice(1).some((line) => !line.includes(",RELEASE,"))) throw new Error(`${lines.length} lines: ${lines[1]}`);
  await page.context().close();
});
await check("an endpoint is refused, added, and deleted", async () => {
  const page = await busy.newPage();
  await page.goto(`${ROOT}/settings/webhooks`, { timeout: PATIENCE });
  await page.getByLabel("Address").fill("https://127.0.0.1/hook");
  await page.getByRole("button", { name: "Add the endpoint" }).click();
  await page.getByRole("alert").waitFor({ timeout: PATIENCE });
  if ((await page.getByLabel("Address").inputValue()) !== "https://127.0.0.1/hook") throw new Error("the address is not kept");
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/webhook-refused.png`, fullPage: true });
  await page.getByLabel("Address").fill("https://example.org/new");
  await page.getByRole("button", { name: "Add the endpoint" }).click();
  await page.getByText(/^whsec_/).waitFor({ timeout: PATIENCE });
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/webhook-made.png`, fullPage: true });
  await page.getByRole("link", { name: "Done: I have copied it" }).click();
  await page.getByRole("link", { name: "Delete https://example.org/new" }).click();
  await page.getByRole("button", { name: "Delete the webhook" }).click();
  await page.getByRole("status").waitFor({ timeout: PATIENCE });
  await page.close();
});
const owner = await busy.storageState();
for (const screen of Object.keys(SCREENS)) {
  for (const scheme of SCHEMES) {
    const paths = ["/settings/usage", "/settings/usage?days=7", "/settings/usage?days=90&kinds=GRANT&kinds=EXPIRE", "/settings/webhooks"];
    for (const path of paths) {
      await check(`${path} of a studio, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, owner, "studio"));
    }
    // Nothing has happened yet.
    for (const path of ["/settings/usage", "/settings/webhooks"]) {
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, session));
    }
  }
}

// An operator: an account made, credits granted once however often the button is pressed, a plan changed after a second
// look, and all of it in the log, which nobody else finds.
await check("/admin changes what it says, once, and writes it down", async () => {
  const page = await person.newPage();
  await page.goto(ROOT, { timeout: PATIENCE });
  await page.goto(`${ROOT}/settings/account`, { timeout: PATIENCE });
  await page.getByRole("link", { name: "Admin" }).click();
  await page.getByRole("heading", { name: "This server" }).waitFor({ timeout: PATIENCE });
  await page.getByRole("link", { name: "Accounts", exact: true }).click();
  await page.getByLabel("Name", { exact: true }).fill("north-light");
  await page.getByLabel("Plan").selectOption("free");
  await page.getByRole("button", { name: "Make the account" }).click();
  await page.getByText("The account is made.").waitFor({ timeout: PATIENCE });
  await page.getByLabel("Credits").fill("2500");
  await page.getByLabel("Note").fill("invoice 2026-118");
  await page.getByRole("button", { name: "Grant the credits" }).dblclick();
  await page.getByText("The credits are granted.").waitFor({ timeout: PATIENCE });
  await page.getByLabel("Plan").selectOption("pro");
  await page.getByRole("button", { name: "Change the plan" }).click();
  await page.getByText("north-light moves from free to pro").waitFor({ timeout: PATIENCE });
  if (process.env.PIOOY_PICTURES) await page.screenshot({ path: `${process.env.PIOOY_PICTURES}/admin-confirm.png`, fullPage: true });
  await page.getByRole("button", { name: "Change the plan" }).click();
  await page.getByText("is on the plan pro now").waitFor({ timeout: PATIENCE });
  const tiles = await page.locator(".tiles").textContent();
  if (!tiles.includes("2,500")) throw new Error(`granted: ${tiles}`);
  await page.goto(`${ROOT}/admin/audit?account=north-light`, { timeout: PATIENCE });
  const rows = await page.locator("tbody tr").count();
  if (rows !== 3) throw new Error(`${rows} rows of three changes`);
  await page.close();
});
await check("/admin is nowhere for everybody else", async () => {
  const answer = await fetch(`${ROOT}/admin`, { headers: { accept: "text/html" } });
  const unknown = await fetch(`${ROOT}/nowhere`, { headers: { accept: "text/html" } });
  if (answer.status !== 404 || (await answer.text()) !== (await unknown.text())) throw new Error(`it answers ${answer.status}`);
});

const operators = await person.storageState();
const lost = process.env.PIOOY_LOST ? [`/admin/queue/${process.env.PIOOY_LOST}/1`] : [];
const rooms = ["", "/accounts", "/accounts/dev", "/accounts?search=none", "/plans", "/plans?edit=pro", "/upstreams", "/queue", "/audit"];
for (const path of [...rooms.map((room) => `/admin${room}`), ...lost]) {
  for (const screen of Object.keys(SCREENS)) {
    for (const scheme of SCHEMES) {
      await check(`${path}, ${screen}, ${scheme}`, () => look(path, 200, screen, scheme, operators));
    }
  }
}
await browser.close();
