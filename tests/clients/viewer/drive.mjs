// Opens the view in Chromium, in host.html, and looks at it as people would. Writes a line of JSON for each check, and
// a picture of each state when PIOOY_PICTURES names a directory.

import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";

const { chromium } = createRequire(`${process.env.CLIENTS_NODE}/`)("playwright-core");
const PATIENCE = 60_000;
const PICTURE = { model: "z-image-turbo", prompt: "a lighthouse on a cliff at dusk, long exposure" };
const CLIP = { model: "seedance-1-5-pro", prompt: "waves rolling in under a red sky", duration: "4", resolution: "480p" };

const page = (name) => readFileSync(new URL(name, import.meta.url));

/** The policy that a host makes of what a view declares. */
function policy({ resourceDomains = [], connectDomains = [] }) {
  const resources = resourceDomains.join(" ");
  return [
    "default-src 'none'",
    `script-src 'self' 'unsafe-inline' ${resources}`,
    `style-src 'self' 'unsafe-inline' ${resources}`,
    ...["img", "media", "font"].map((kind) => `${kind}-src 'self' data: ${resources}`),
    `connect-src ${connectDomains.join(" ") || "'none'"}`,
    "frame-src 'self'",
    "object-src 'none'",
    "base-uri 'self'",
  ].join("; ");
}

async function answer(request, response) {
  const url = new URL(request.url, "http://host");
  if (url.pathname === "/mcp") {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const headers = { "content-type": "application/json", authorization: `Bearer ${process.env.PIOOY_KEY}` };
    const told = await fetch(process.env.PIOOY_MCP_URL, { method: "POST", headers, body: Buffer.concat(chunks) });
    response.writeHead(told.status, { "content-type": "application/json" });
    return response.end(await told.text());
  }
  const headers = { "content-type": "text/html; charset=utf-8" };
  if (url.pathname === "/sandbox") {
    headers["content-security-policy"] = policy(JSON.parse(url.searchParams.get("csp")));
    response.writeHead(200, headers);
    return response.end(page("sandbox.html"));
  }
  if (url.pathname === "/favicon.ico") return response.writeHead(204).end();
  response.writeHead(url.pathname === "/" ? 200 : 404, headers);
  return response.end(url.pathname === "/" ? page("host.html") : "");
}

/** Serves both pages on a port of its own, which makes an origin of its own. */
function serve() {
  const server = createServer((request, response) => answer(request, response).catch((error) => response.destroy(error)));
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done([server, `http://127.0.0.1:${server.address().port}`])));
}

const [hostServer, hostOrigin] = await serve();
const [sandboxServer, sandboxOrigin] = await serve();
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });
const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

function equal(found, expected, what) {
  if (JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Error(`${what}: found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  }
}

/** One conversation, opened in a window of its own. */
class Chat {
  static async open(scene, { width = 760, height = 1000 } = {}) {
    const chat = new Chat();
    chat.context = await browser.newContext({ viewport: { width, height }, deviceScaleFactor: 2 });
    chat.page = await chat.context.newPage();
    chat.complaints = [];
    chat.page.on("pageerror", (error) => chat.complaints.push(error.message));
    chat.page.on("console", (said) => said.type() === "error" && chat.complaints.push(said.text()));
    const whole = { theme: "light", tool: "generate_image", arguments: PICTURE, ...scene, sandbox: sandboxOrigin };
    await chat.page.goto(`${hostOrigin}/#${encodeURIComponent(JSON.stringify(whole))}`);
    chat.view = chat.page.frameLocator("#sandbox").frameLocator("iframe");
    return chat;
  }

  state(name) {
    return this.view.locator(`#card[data-state=${name}]`).waitFor({ timeout: PATIENCE });
  }

  text(id) {
    return this.view.locator(`#${id}`).textContent();
  }

  shows(id) {
    return this.view.locator(`#${id}`).isVisible();
  }

  click(id) {
    return this.view.locator(`#${id}`).click({ timeout: PATIENCE });
  }

  /** What the host was asked by this method, waiting until it was. */
  async heard(method) {
    const asked = (method) => host.log.filter((message) => message.method === method).map(({ params }) => params);
    await this.page.waitForFunction((method) => host.log.some((message) => message.method === method), method, { timeout: PATIENCE });
    return this.page.evaluate(asked, method);
  }

  /** Waits until the picture on the stage is there. */
  async picture() {
    await this.state("done");
    const arrived = () => [...document.querySelectorAll("#media img")].at(-1)?.naturalWidth > 0;
    await this.inside(arrived);
    const image = this.view.locator("#media img").last();
    return image.evaluate(async (image) => {
      await image.decode();
      return [image.naturalWidth, image.naturalHeight];
    });
  }

  async inside(condition) {
    const until = Date.now() + PATIENCE;
    while (!(await this.view.locator("body").evaluate(condition))) {
      if (Date.now() > until) throw new Error(`it never came true: ${condition}`);
      await new Promise((done) => setTimeout(done, 50));
    }
  }

  async snap(name) {
    if (!process.env.PIOOY_PICTURES) return;
    await this.page.waitForTimeout(900);
    await this.page.screenshot({ path: `${process.env.PIOOY_PICTURES}/${name}.png` });
  }

  /** Nothing may stick out, nothing may be hidden, and nothing may have gone wrong. */
  async close() {
    const [inner, outer] = await this.view.locator("body").evaluate(() => [document.body.scrollWidth, window.innerWidth]);
    if (inner > outer) throw new Error(`it is ${inner} pixels wide in ${outer}`);
    const height = await this.view.locator("body").evaluate(() => Math.ceil(document.body.getBoundingClientRect().height));
    equal(await this.page.evaluate(() => host.height), height, "the height that the host was told");
    equal(this.complaints, [], "what the browser complains of");
    await this.context.close();
  }
}

const WAIT = { wait_seconds: 50 };
const NARROW = { width: 360, height: 800 };

const checks = {
  async "a picture is shown whole, with its facts"() {
    const chat = await Chat.open({ besides: WAIT });
    const [width, height] = await chat.picture();
    const facts = await chat.text("facts");
    if (!facts.includes(`${width} × ${height}`) || !facts.includes("z-image-turbo")) throw new Error(`facts: ${facts}`);
    equal(await chat.text("prompt"), PICTURE.prompt, "prompt");
    await chat.snap("image-light");
    await chat.close();
  },
  async "a picture in the dark, on a narrow screen, in the host's colours"() {
    const variables = { "--color-background-primary": "rgb(12, 34, 56)" };
    const chat = await Chat.open({ theme: "dark", besides: WAIT, variables }, NARROW);
    await chat.picture();
    const colours = await chat.view.locator("#card").evaluate((card) => [
      getComputedStyle(card).backgroundColor,
      getComputedStyle(document.documentElement).colorScheme,
    ]);
    equal(colours, ["rgb(12, 34, 56)", "dark"], "ground and scheme");
    await chat.close();
  },
  async "a tall picture fits, in light and dark"() {
    for (const theme of ["light", "dark"]) {
      const chat = await Chat.open({ theme, arguments: { ...PICTURE, aspect_ratio: "9:16" }, besides: WAIT });
      const [width, height] = await chat.picture();
      if (height <= width) throw new Error("it is not tall");
      const stage = await chat.view.locator("#stage").boundingBox();
      if (stage.height > 521) throw new Error(`the stage is ${stage.height} pixels high`);
      await chat.snap(`image-tall-${theme}`);
      await chat.close();
    }
    const chat = await Chat.open({ theme: "dark", besides: WAIT }, NARROW);
    await chat.picture();
    await chat.snap("image-dark-narrow");
    await chat.close();
  },
  async "a video plays"() {
    const chat = await Chat.open({ tool: "generate_video", arguments: CLIP, besides: WAIT });
    await chat.state("done");
    await chat.view.locator("#media video").evaluate(async (video) => {
      video.muted = true;
      await video.play();
    });
    await chat.inside(() => document.querySelector("#media video").currentTime > 0.3);
    await chat.snap("video-light");
    await chat.close();
    const dark = await Chat.open({ tool: "generate_video", arguments: CLIP, besides: WAIT, theme: "dark" }, NARROW);
    await dark.state("done");
    await dark.inside(() => document.querySelector("#media video").readyState >= 1);
    await dark.snap("video-dark-narrow");
    await dark.close();
  },
  async "a running task is followed to its end"() {
    const slow = { ...PICTURE, prompt: "[sandbox:delay=7s] a lighthouse at dusk" };
    const chat = await Chat.open({ arguments: slow });
    await chat.state("working");
    await chat.snap("running-light");
    equal([await chat.shows("cancel"), await chat.shows("download")], [true, false], "buttons");
    await chat.picture();
    const polls = await chat.page.evaluate(() => host.calls.map((call) => [call.name, call.arguments.wait_seconds]));
    if (polls.length > 6 || polls.some(([name, wait]) => name !== "get_task_status" || wait !== 4)) {
      throw new Error(`it was asked for so: ${JSON.stringify(polls)}`);
    }
    await chat.close();
  },
  async "a running task is canceled"() {
    const hanging = { ...PICTURE, prompt: "[sandbox:hang] a lighthouse at dusk", aspect_ratio: "1:1" };
    const chat = await Chat.open({ arguments: hanging, theme: "dark" }, NARROW);
    await chat.state("working");
    await chat.snap("running-dark-narrow");
    await chat.click("cancel");
    await chat.state("canceled");
    await chat.snap("canceled-dark-narrow");
    await chat.close();
  },
  async "a failure says why, and can be tried again when that may help"() {
    const refused = { ...PICTURE, prompt: "[sandbox:fail=content_policy] something forbidden" };
    const final = await Chat.open({ arguments: refused, besides: WAIT });
    await final.state("failed");
    equal([await final.text("headline"), await final.shows("again")], ["It could not be made", false], "headline and again");
    await final.snap("refused-light");
    await final.close();
    const failing = { ...PICTURE, prompt: "[sandbox:fail=provider_error] a lighthouse at dusk" };
    const chat = await Chat.open({ arguments: failing, besides: WAIT });
    await chat.state("failed");
    await chat.snap("failed-light");
    await chat.click("again");
    await chat.page.waitForFunction(() => host.calls.some((call) => call.name === "generate_image"));
    await chat.state("failed");
    await chat.close();
    const dark = await Chat.open({ arguments: failing, besides: WAIT, theme: "dark" }, NARROW);
    await dark.state("failed");
    await dark.snap("failed-dark-narrow");
    await dark.close();
  },
  async "a call that was refused says so"() {
    const chat = await Chat.open({ arguments: { ...PICTURE, model: "no-such-model" } });
    await chat.state("failed");
    const detail = await chat.text("detail");
    if (!detail.includes("no-such-model")) throw new Error(detail);
    await chat.close();
    const cancelled = await Chat.open({ cancelled: true });
    await cancelled.state("canceled");
    await cancelled.close();
  },
  async "again makes a new one, and the model is told"() {
    const once = { ...PICTURE, idempotency_key: "once", seed: 7 };
    const chat = await Chat.open({ arguments: once, besides: WAIT });
    await chat.picture();
    const first = await chat.page.evaluate(() => host.result.structuredContent.data.taskId);
    await chat.click("again");
    const [told] = await chat.heard("ui/update-model-context");
    const calls = await chat.page.evaluate(() => host.calls);
    equal(calls.find((call) => call.name === "generate_image").arguments, PICTURE, "arguments");
    if (told.content[0].text.includes(first)) throw new Error("the model is told of the old one");
    await chat.picture();
    await chat.close();
  },
  async "again of a task whose wish is not known asks the model"() {
    const chat = await Chat.open({ besides: WAIT });
    await chat.picture();
    const taskId = await chat.page.evaluate(() => host.result.structuredContent.data.taskId);
    await chat.close();
    const later = await Chat.open({ tool: "get_task_status", arguments: { taskId } });
    await later.picture();
    await later.click("again");
    const [{ role, content }] = await later.heard("ui/message");
    equal([role, content[0].text.includes(taskId)], ["user", true], "the message");
    await later.close();
  },
  async "of several pictures each can be looked at"() {
    const chat = await Chat.open({ arguments: { ...PICTURE, count: 3 }, besides: WAIT });
    await chat.picture();
    const buttons = chat.view.locator("#strip button");
    equal(await buttons.count(), 3, "pictures in the strip");
    const before = await chat.view.locator("#media img").last().getAttribute("src");
    await buttons.nth(2).click();
    await chat.picture();
    const after = await chat.view.locator("#media img").last().getAttribute("src");
    if (before === after) throw new Error("the same picture");
    await chat.snap("several-light");
    await chat.click("download");
    const [link] = await chat.heard("ui/open-link");
    equal(link.url, `${after}&download=1`, "the link to download");
    await chat.close();
  },
  async "a host that saves files is asked to"() {
    const chat = await Chat.open({ besides: WAIT, can: { serverTools: {}, downloadFile: {}, openLinks: {} } });
    await chat.picture();
    await chat.click("download");
    const [{ contents }] = await chat.heard("ui/download-file");
    equal([contents[0].type, contents[0].mimeType], ["resource_link", "image/png"], "what to save");
    await chat.close();
  },
  async "full screen and back"() {
    const chat = await Chat.open({ besides: WAIT });
    await chat.picture();
    await chat.click("expand");
    await chat.inside(() => document.documentElement.classList.contains("fullscreen"));
    await chat.snap("fullscreen-light");
    await chat.click("expand");
    await chat.inside(() => !document.documentElement.classList.contains("fullscreen"));
    await chat.close();
  },
  async "expired links are asked for anew"() {
    const chat = await Chat.open({ besides: WAIT, expired: true });
    await chat.picture();
    equal(await chat.page.evaluate(() => host.calls.map((call) => call.name)), ["get_task_status"], "calls");
    chat.complaints = chat.complaints.filter((text) => !text.includes("status of 403"));
    await chat.close();
  },
  async "words of strangers stay words"() {
    const prompt = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>";
    const chat = await Chat.open({ arguments: { ...PICTURE, prompt }, besides: WAIT });
    await chat.picture();
    equal(await chat.text("prompt"), prompt, "prompt");
    equal(await chat.view.locator("body").evaluate(() => document.title), "Piooy", "title");
    await chat.close();
  },
  async "a host that cannot call tools sees what there is"() {
    const chat = await Chat.open({ arguments: { ...PICTURE, prompt: "[sandbox:hang] x" }, can: { openLinks: {} } });
    await chat.state("working");
    equal([await chat.shows("cancel"), await chat.shows("again")], [false, false], "buttons");
    await chat.close();
  },
  async "it goes when it is told to"() {
    const chat = await Chat.open({ arguments: { ...PICTURE, prompt: "[sandbox:hang] x" } });
    await chat.state("working");
    await chat.page.evaluate(() => host.ask("ui/resource-teardown", { reason: "over" }));
    await chat.page.waitForFunction(() => host.log.some((message) => message.id === "host-ui/resource-teardown" && message.result));
    await chat.close();
  },
};

for (const [name, check] of Object.entries(checks)) {
  if (process.env.PIOOY_ONLY && !name.includes(process.env.PIOOY_ONLY)) continue;
  try {
    await check();
    say({ name });
  } catch (error) {
    say({ name, why: String(error.stack) });
  }
}
await browser.close();
hostServer.close();
sandboxServer.close();
