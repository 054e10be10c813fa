// Shows one task: while it is made, what came of it, or why nothing did. Speaks to its host alone, by
// JSON-RPC messages (MCP Apps, 2026-01-26); nothing that arrives is ever taken for HTML.
"use strict";

const POLL_WAIT_SECONDS = 4; // How long one question about a running task waits for its end.
const POLL_PAUSE_MS = 1000;
const RETRY_MS_MAX = 30_000;
const REFRESH_MS_MIN = 30_000; // A link that does not load is asked for anew, but not more often.
const STAGE_HEIGHT_MAX = 520;
const FOOTER_HEIGHT = 120;

const ICONS = {
  failed: "M12 7v6M12 17v.01",
  canceled: "M7 12h10",
};

const at = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

// ---- the host -------------------------------------------------------------------------------------

const pending = new Map();
let lastId = 0;
let host = {};
let can = {};

function post(message) {
  window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
}

function ask(method, params) {
  const id = ++lastId;
  return new Promise((resolve, reject) => {
    pending.set(id, { resolve, reject });
    post({ id, method, params });
  });
}

function heard({ source, data }) {
  if (source !== window.parent || data?.jsonrpc !== "2.0") return;
  if (data.method === undefined) {
    const asked = pending.get(data.id);
    pending.delete(data.id);
    if (data.error) asked?.reject(new Error(data.error.message));
    else asked?.resolve(data.result ?? {});
  } else if (data.id === undefined) {
    notified[data.method]?.(data.params ?? {});
  } else if (data.method === "ui/resource-teardown" || data.method === "ping") {
    if (data.method !== "ping") following += 1;
    post({ id: data.id, result: {} });
  } else {
    post({ id: data.id, error: { code: -32601, message: `There is no method ${data.method} here.` } });
  }
}

const notified = {
  "ui/notifications/tool-input": (params) => asked(params.arguments ?? {}),
  "ui/notifications/tool-input-partial": (params) => asked(params.arguments ?? {}),
  "ui/notifications/tool-result": (result) => answered(result),
  "ui/notifications/tool-cancelled": () => task || say("canceled", "Canceled", "Nothing was started."),
  "ui/notifications/host-context-changed": (context) => adapt(context),
};

/** Takes the host's theme, colours and room. */
function adapt(context) {
  host = { ...host, ...context };
  const root = document.documentElement;
  if (context.theme) root.style.colorScheme = context.theme;
  for (const [name, value] of Object.entries(context.styles?.variables ?? {})) {
    if (name.startsWith("--") && value) root.style.setProperty(name, value);
  }
  if (context.styles?.css?.fonts) {
    const fonts = document.createElement("style");
    fonts.textContent = context.styles.css.fonts;
    document.head.append(fonts);
  }
  const room = host.containerDimensions?.maxHeight ?? host.containerDimensions?.height;
  const height = Math.max(180, Math.min(STAGE_HEIGHT_MAX, (room || Infinity) - FOOTER_HEIGHT));
  root.style.setProperty("--stage-height", `${height}px`);
  root.classList.toggle("fullscreen", host.displayMode === "fullscreen");
  at("expand").hidden = !host.availableDisplayModes?.includes("fullscreen");
}

/** Calls a tool and gives back its envelope. */
async function call(name, args) {
  return envelope(await ask("tools/call", { name, arguments: args }));
}

function envelope(result) {
  if (result.structuredContent) return result.structuredContent;
  const text = (result.content ?? []).find((block) => block.type === "text")?.text ?? "";
  try {
    return JSON.parse(text);
  } catch {
    return { code: 2, message: text || "The answer could not be read.", details: {} };
  }
}

// ---- the task -------------------------------------------------------------------------------------

let wish = {}; // What the tool was called with.
let task; // The newest that is known.
let following = 0; // Counts up whenever another task is followed, or none any more.
let refreshed = 0;
let chosen = 0; // Which of several results is on the stage.

function asked(args) {
  wish = args;
  if (!task) {
    shape(...(/^(\d+):(\d+)$/.exec(args.aspect_ratio ?? "")?.slice(1).map(Number) ?? [16, 9]));
    say("waiting", args.taskId ? "Looking it up" : "Sending it off", args.model ?? "");
    words();
  }
}

function answered(result) {
  const { code, message, data } = envelope(result);
  if (code === 0 && data?.taskId) follow(data);
  else say("failed", "It could not be started", message ?? "");
}

/** Shows a task and asks about it until it has ended. */
async function follow(start) {
  const turn = ++following;
  show(start);
  for (let failures = 0; turn === following && isRunning(); ) {
    if (!can.serverTools) return;
    await sleep(failures ? Math.min(RETRY_MS_MAX, POLL_PAUSE_MS * 2 ** failures) : POLL_PAUSE_MS);
    await seen();
    if (turn !== following) return;
    try {
      const answer = await call("get_task_status", { taskId: task.taskId, wait_seconds: POLL_WAIT_SECONDS });
      if (turn !== following) return;
      if (answer.code === 0) {
        failures = 0;
        show(answer.data);
      } else {
        failures += 1;
        const seconds = answer.details?.retryAfterSeconds;
        if (answer.reason === "TASK_NOT_FOUND") return say("failed", "It is gone", answer.message);
        if (seconds) await sleep(seconds * 1000);
      }
    } catch {
      failures += 1;
    }
    toast(failures > 2 ? "The server cannot be reached just now. It goes on all the same." : "");
  }
}

/** Nobody looks: nobody asks. */
function seen() {
  if (!document.hidden) return Promise.resolve();
  return new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
}

const isRunning = () => task.status === "PENDING" || task.status === "PROCESSING";
const isVideo = (output) => output.mimeType.startsWith("video/");

function show(newest) {
  task = newest;
  const outputs = task.outputs ?? [];
  chosen = Math.min(chosen, Math.max(0, outputs.length - 1));
  if (isRunning()) {
    if (!can.serverTools) say("working", "Being made", "Ask for its status to see it.");
    else if (task.status === "PENDING") say("working", "Waiting for its turn", elapsed());
    else say("working", task.mediaType === "VIDEO" ? "Making the video" : "Painting", elapsed());
  } else if (outputs.length) {
    say("done", "", "");
    put(outputs[chosen]);
  } else if (task.status === "CANCELED") {
    say("canceled", "Canceled", paid());
  } else {
    say("failed", "It could not be made", [sentence(task.error?.message), paid()].filter(Boolean).join(" "));
  }
  at("stage").style.setProperty("--done", `${Math.max(4, task.progress ?? 0)}%`);
  at("progress").setAttribute("aria-valuenow", task.progress ?? 0);
  strip(outputs);
  words();
}

/** What upstreams say has no certain form. */
function sentence(text) {
  if (!text) return "";
  return text[0].toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? "" : ".");
}

function paid() {
  return task.credits?.charged || task.test ? "" : "Nothing was charged.";
}

function elapsed() {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(task.createdAt)) / 1000));
  const time = seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return task.progress ? `${task.progress} % · ${time}` : time;
}

setInterval(() => {
  if (task && isRunning() && can.serverTools) at("detail").textContent = elapsed();
}, 1000);

// ---- what is seen ---------------------------------------------------------------------------------

function say(state, headline, detail) {
  at("card").dataset.state = state;
  at("headline").textContent = headline;
  at("detail").textContent = detail;
  at("notice").hidden = state === "done";
  at("progress").hidden = state !== "waiting" && state !== "working";
  at("sign").style.display = ICONS[state] ? "" : "none";
  at("sign").firstElementChild.setAttribute("d", ICONS[state] ?? "");
  if (state !== "done") {
    at("media").replaceChildren();
    delete at("media").dataset.url;
    at("backdrop").style.backgroundImage = "";
  }
  actions(state);
}

function shape(width, height) {
  if (width > 0 && height > 0) at("stage").style.setProperty("--shape", `${width} / ${height}`);
}

/** Only what a browser may fetch, and never a script. */
function safe(url) {
  return /^https?:\/\//.test(url ?? "") ? url : "";
}

/** Puts a finished file on the stage; its thumbnail stands in until it has come. */
function put(output) {
  const media = at("media");
  if (media.dataset.url === output.url) return;
  media.dataset.url = output.url;
  shape(output.width, output.height);
  const still = safe(output.thumbnailUrl);
  at("backdrop").style.backgroundImage = still ? `url("${encodeURI(still)}")` : "";
  const name = wish.prompt ?? task.model;
  if (isVideo(output)) {
    const video = document.createElement("video");
    Object.assign(video, { controls: true, playsInline: true, loop: true, preload: "metadata", poster: still });
    video.setAttribute("aria-label", name);
    video.onerror = refresh;
    video.src = safe(output.url);
    media.replaceChildren(video);
    return;
  }
  const image = new Image();
  const standIn = new Image();
  standIn.alt = "";
  standIn.src = still;
  image.alt = name;
  image.tabIndex = 0;
  image.className = "arriving";
  image.onload = () => {
    image.classList.remove("arriving");
    setTimeout(() => standIn.remove(), 700);
  };
  image.onerror = refresh;
  image.onclick = () => (at("expand").hidden ? open(output) : expand());
  image.onkeydown = (event) => event.key === "Enter" && image.onclick();
  image.src = safe(output.url);
  media.replaceChildren(...(still ? [standIn, image] : [image]));
}

/** Links expire; whoever opens an old conversation gets fresh ones. */
async function refresh() {
  if (!can.serverTools || Date.now() - refreshed < REFRESH_MS_MIN) return;
  refreshed = Date.now();
  const turn = following;
  const answer = await call("get_task_status", { taskId: task.taskId }).catch(() => ({}));
  if (turn === following && answer.code === 0) show(answer.data);
}

function strip(outputs) {
  const strip = at("strip");
  strip.hidden = outputs.length < 2;
  const buttons = outputs.map((output, index) => {
    const button = document.createElement("button");
    const still = safe(output.thumbnailUrl);
    if (still) button.style.backgroundImage = `url("${encodeURI(still)}")`;
    button.setAttribute("aria-label", `Result ${index + 1}`);
    button.setAttribute("aria-current", index === chosen);
    button.onclick = () => {
      chosen = index;
      show(task);
    };
    return button;
  });
  strip.replaceChildren(...(strip.hidden ? [] : buttons));
}

function words() {
  at("prompt").textContent = wish.prompt ?? "";
  at("prompt").hidden = !wish.prompt;
  const facts = [];
  const output = task?.outputs?.[chosen];
  facts.push(task?.model ?? wish.model ?? "");
  if (output) facts.push(`${output.width} × ${output.height}`);
  if (output?.durationSeconds) facts.push(`${Math.round(output.durationSeconds * 10) / 10} s`);
  const credits = task && (isRunning() ? task.credits?.quoted : task.credits?.charged);
  if (credits && !task.test) facts.push(credits === 1 ? "1 credit" : `${credits} credits`);
  at("facts").replaceChildren();
  if (task?.provider === "sandbox") {
    const badge = document.createElement("b");
    badge.textContent = "Sandbox";
    at("facts").append(badge);
  }
  at("facts").append(facts.filter(Boolean).join(" · "));
}

function actions(state) {
  const running = state === "working";
  const settled = state === "done" || state === "failed" || state === "canceled";
  at("download").hidden = state !== "done";
  at("expand").style.display = state === "done" ? "" : "none";
  at("cancel").hidden = !running || !can.serverTools;
  at("cancel").disabled = false;
  const inVain = state === "failed" && task?.error?.retryable === false;
  at("again").hidden = !settled || inVain || !(wish.prompt ? can.serverTools : task && can.message);
  at("again").disabled = false;
  at("again").className = state === "done" ? "quiet" : "";
  const cost = task && !task.test && wish.prompt ? task.credits?.quoted : 0;
  const label = state === "done" ? "Again" : "Try again";
  at("again").lastElementChild.textContent = cost ? `${label} · ${cost}` : label;
  at("again").title = cost ? `Makes another one for ${cost} credits` : "Makes another one";
}

function toast(text) {
  at("toast").textContent = text;
}

// ---- what people do -------------------------------------------------------------------------------

function open(output) {
  ask("ui/open-link", { url: safe(output.url) }).catch((error) => toast(error.message));
}

at("download").onclick = async () => {
  const output = task.outputs[chosen];
  const name = `piooy-${task.taskId}-${chosen + 1}.${output.mimeType.split("/")[1]}`;
  try {
    if (can.downloadFile) {
      const link = { type: "resource_link", uri: output.url, name, mimeType: output.mimeType };
      await ask("ui/download-file", { contents: [link] });
    } else {
      await ask("ui/open-link", { url: `${safe(output.url)}&download=1` });
    }
  } catch (error) {
    toast(`It could not be downloaded: ${error.message}`);
  }
};

/** Makes another one of the same: a new thing, so neither the key nor the price nor the seed of the old. */
at("again").onclick = async () => {
  at("again").disabled = true;
  toast("");
  try {
    if (!wish.prompt) {
      const text = `Please make another one like the one of task ${task.taskId}.`;
      await ask("ui/message", { role: "user", content: [{ type: "text", text }] });
      return;
    }
    const { idempotency_key, quote_id, seed, wait_seconds, ...same } = wish;
    const tool = tools[task?.mediaType] ?? host.toolInfo?.tool?.name ?? "generate_image";
    const answer = await call(tool, same);
    if (answer.code !== 0) return toast(answer.message);
    const { taskId } = answer.data;
    const text = `In the viewer the person asked for another one of the same. It is the task ${taskId}.`;
    if (can.updateModelContext) ask("ui/update-model-context", { content: [{ type: "text", text }] }).catch(() => {});
    chosen = 0;
    await follow(answer.data);
  } catch (error) {
    toast(error.message);
  } finally {
    at("again").disabled = false;
  }
};

const tools = { IMAGE: "generate_image", VIDEO: "generate_video" };

at("cancel").onclick = async () => {
  at("cancel").disabled = true;
  try {
    const answer = await call("cancel_task", { taskId: task.taskId });
    if (answer.code !== 0) toast(answer.message);
    else if (!["PENDING", "PROCESSING"].includes(answer.data.status)) show(answer.data);
  } catch (error) {
    toast(error.message);
  }
};

async function expand() {
  const mode = host.displayMode === "fullscreen" ? "inline" : "fullscreen";
  const answer = await ask("ui/request-display-mode", { mode }).catch(() => ({}));
  if (answer.mode) adapt({ displayMode: answer.mode });
}
at("expand").onclick = expand;

// ---- the beginning --------------------------------------------------------------------------------

window.addEventListener("message", heard);

new ResizeObserver(() => {
  if (host.displayMode === "fullscreen") return;
  const { width, height } = document.body.getBoundingClientRect();
  post({ method: "ui/notifications/size-changed", params: { width: Math.ceil(width), height: Math.ceil(height) } });
}).observe(document.body);

(async () => {
  asked({});
  const welcome = await ask("ui/initialize", {
    protocolVersion: "2026-01-26",
    appInfo: { name: "piooy-viewer", title: "Piooy", version: "{version}" },
    appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
  });
  can = welcome.hostCapabilities ?? {};
  adapt(welcome.hostContext ?? {});
  post({ method: "ui/notifications/initialized", params: {} });
})();
