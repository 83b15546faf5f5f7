// The page's script: pictures go to /v1/restore, what comes back is compared with them.

import { zip } from "./zip.js";

const $ = (id) => document.getElementById(id);
// pictures: as `newPicture` makes them. current: the one that is seen. working: the one that is
// restored. run: what restores them one after the other; another one, or null, ends it.
const state = { pictures: [], current: null, working: null, run: null, request: null, model: null, limits: null };
const TOKEN = "lorair-token";

// Words ---------------------------------------------------------------------------------

const percent = (share) => `${Math.round(share * 100)} %`;
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);
const listed = (words) => new Intl.ListFormat("en", { type: "disjunction" }).format(words);

function say(text) {
  $("status").textContent = text;
}

function showError(what, why) {
  $("what").textContent = what;
  $("why").textContent = why ?? "";
  $("error").hidden = false;
}

// A problem as the server words it: what failed, wanted, found, and a hint.
function showProblem(problem) {
  const parts = [];
  if (problem.wanted) parts.push(`wanted ${problem.wanted}`);
  if (problem.found) parts.push(`found ${problem.found}`);
  const why = [parts.join(", "), problem.hint].filter(Boolean).join("; ");
  showError(problem.what ?? "The server gave an answer that this page does not know", why && `${why}.`);
}

// The server ----------------------------------------------------------------------------

function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

// A token that is kept and still asked for was a wrong one.
function askForToken() {
  $("wrong-token").hidden = !sessionStorage.getItem(TOKEN);
  return new Promise((resolve) => {
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem(TOKEN, $("token").value.trim());
      $("ask-token").close();
      resolve();
    };
    $("ask-token").showModal();
  });
}

async function loadModel() {
  let answer = await fetch("v1/models", { headers: authorization() });
  while (answer.status === 401) {
    await askForToken();
    answer = await fetch("v1/models", { headers: authorization() });
  }
  if (!answer.ok) throw new Error(`status ${answer.status}`);
  const reply = await answer.json();
  state.model = reply.models[0];
  state.limits = reply.limits;
  $("model").textContent = `${state.model.name} · ${state.model.precision}`;
  $("classes").textContent = `: ${listed(state.model.classes)}`;
  $("version").textContent = `lorair ${reply.lorair}`;
  const { max_bytes, max_pixels } = state.limits;
  $("limits").textContent =
    `Up to ${megabytes(max_bytes)} and ${Math.floor(max_pixels / 1e6)} megapixels. ` +
    "It goes to this server and nowhere else, and is not kept.";
}

// What is asked for: an expert, or "" for the router's choice, the strength, 0 to 1, and the format.
const wishFor = ({ choice, strength }) => ({ choice, strength, format: $("format").value });
const keyOf = ({ choice, strength, format }) => `${strength} ${format} ${choice}`;

function setStrength(strength) {
  $("strength").value = 100 * strength;
  $("percent").textContent = percent(strength);
}

// Send a picture; resolves when there is an answer, or it was given up.
function send(file, { choice, strength, format }, id) {
  const query = new URLSearchParams({ id, strength, format });
  if (choice) query.set("expert", choice);
  const request = new XMLHttpRequest();
  state.request = request;
  request.open("POST", `v1/restore?${query}`);
  request.responseType = "blob";
  request.setRequestHeader("Content-Type", mediaOf(file));
  for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
  const ended = new Promise((resolve) => {
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) showProgress(event.loaded / event.total, `Uploading, ${percent(event.loaded / event.total)}`);
    };
    request.upload.onload = () => watch(id, request);
    request.onloadend = resolve;
    request.send(file);
  });
  return { request, ended };
}

// What the server takes by name; of anything else its bytes have to tell.
function mediaOf(file) {
  const known = ["image/png", "image/jpeg", "image/webp", "image/tiff", "image/bmp", "image/avif", "image/gif"];
  return known.includes(file.type) ? file.type : "application/octet-stream";
}

// Ask how far it is until there is an answer. Behind several servers another one may be asked,
// which does not know; then the bar only moves.
async function watch(id, request) {
  showProgress(null, "Restoring");
  while (request.readyState !== XMLHttpRequest.DONE && state.request === request) {
    try {
      const answer = await fetch(`v1/progress/${id}`, { headers: authorization() });
      if (answer.ok && state.request === request) showState(await answer.json());
    } catch {
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 600));
  }
}

function showState({ state: now, ahead, fraction, detail }) {
  const tile = /tile \d+ of \d+/.exec(detail)?.[0] ?? percent(fraction);
  if (now === "queued") showProgress(null, ahead ? `Waiting, ${ahead} before you` : "Waiting for a place");
  else if (now === "running") showProgress(fraction || null, fraction ? `Restoring, ${tile}` : "Restoring");
}

// What a browser cannot show, the server gives as it is: restored with strength 0.
async function asItWas(file) {
  const headers = { "Content-Type": mediaOf(file), ...authorization() };
  const answer = await fetch("v1/restore?strength=0", { method: "POST", body: file, headers });
  return answer.ok ? URL.createObjectURL(await answer.blob()) : null;
}

// What is seen --------------------------------------------------------------------------

function showProgress(fraction, text) {
  if (!state.request) return;
  if (fraction === null) $("progress").removeAttribute("value");
  else $("progress").value = fraction;
  const which = state.pictures.length > 1 ? `${state.pictures.indexOf(state.working) + 1} of ${state.pictures.length}: ` : "";
  if ($("status").textContent !== which + text) say(which + text);
}

function setBusy(busy) {
  $("result").setAttribute("aria-busy", String(busy));
  $("working").hidden = !busy;
  $("choices").disabled = busy || !state.pictures.some((one) => one.shown);
  $("all").hidden = busy || state.pictures.filter((one) => one.shown).length < 2;
}

// The pictures in the list, and whether the one that is seen is in work.
function mark() {
  $("result").classList.toggle("busy", state.working === state.current);
  for (const picture of state.pictures) {
    const { choice } = picture.shown ?? {};
    const done = picture.shown && (choice || picture.results.get(keyOf(picture.shown)).route.router);
    const said = picture === state.working ? "in work" : (picture.problem?.what ?? done ?? "not done");
    picture.row.querySelector(".said").textContent = said;
    picture.row.classList.toggle("failed", Boolean(picture.problem));
    picture.row.firstChild.setAttribute("aria-current", String(picture === state.current));
  }
}

function moveTo(value) {
  const at = Math.min(100, Math.max(0, value));
  $("slider").value = at;
  $("slider").setAttribute("aria-valuetext", `${Math.round(at)} % as it was, ${100 - Math.round(at)} % restored`);
  $("compare").style.setProperty("--at", `${at}%`);
}

function fit({ naturalWidth, naturalHeight }) {
  $("compare").style.setProperty("--aspect", naturalWidth / naturalHeight);
  $("compare").style.setProperty("--most", `${2 * naturalWidth}px`);
}

function showOptions(route) {
  const options = $("options");
  options.replaceChildren();
  const sure = route ? `${route.router}, ${percent(route.probabilities[route.router])}` : "looks at the picture first";
  options.append(option("", "What the router sees", { hint: sure }));
  for (const name of state.model?.classes ?? []) {
    options.append(option(name, name, { share: route?.probabilities[name] ?? 0, known: Boolean(route) }));
  }
}

function option(value, text, { hint, share, known }) {
  const label = element("label", "option");
  const input = element("input");
  Object.assign(input, { type: "radio", name: "expert", value, checked: value === state.current.choice });
  label.append(input, element("span", "label", text));
  if (hint !== undefined) {
    label.append(element("span"), element("span", "hint", hint));
  } else {
    label.append(element("span", "share", known ? percent(share) : ""));
    const bar = element("span", "bar");
    bar.setAttribute("aria-hidden", "true");
    const fill = bar.appendChild(element("span"));
    requestAnimationFrame(() => (fill.style.width = `${share * 100}%`));
    label.append(bar);
  }
  return label;
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// Between two rounds of the loop another picture may have come to be seen.
async function showResult(picture) {
  const result = picture.results.get(keyOf(picture.shown));
  $("after").src = result.url;
  await $("after").decode();
  if (picture !== state.current) return;
  fit($("after"));
  $("compare").classList.remove("only-before");
  $("zoom").hidden = false;
  showOptions(result.route);
  $("notes").replaceChildren(...result.notes.map((note) => element("li", "", note)));
  $("download").href = result.url;
  $("download").download = nameOf(picture);
  $("download").textContent = `Download ${$("format").selectedOptions[0].text.split(",")[0]}`;
  $("download").hidden = false;
  const times = result.times.flatMap(([stage, ms]) => [element("dt", "", stage), element("dd", "", seconds(ms))]);
  $("times").replaceChildren(...times);
  $("details").hidden = false;
  await showBefore(picture);
}

async function showBefore(picture) {
  const image = $("before");
  if (image.src !== picture.before) image.src = picture.before;
  const isShown = await image.decode().then(() => true, () => false);
  if (picture !== state.current) return;
  $("compare").classList.toggle("only-after", !isShown);
  if (isShown) {
    fit(image);
  } else if (picture.shown && !picture.isMade) {
    picture.isMade = true;
    picture.before = (await asItWas(picture.file)) ?? picture.before;
    if (picture === state.current) await showBefore(picture);
  } else if (picture.shown) {
    $("notes").prepend(element("li", "", "The picture as it was cannot be shown, only as restored."));
  }
}

function show(picture) {
  state.current = picture;
  $("name").textContent = picture.file.name || "Pasted picture";
  $("compare").className = "compare only-before";
  $("zoom").hidden = $("download").hidden = $("details").hidden = true;
  $("notes").replaceChildren();
  setStrength(picture.strength);
  zoom(false);
  moveTo(50);
  showOptions(null);
  mark();
  if (!state.run) setBusy(false);
  return picture.shown ? showResult(picture) : showBefore(picture);
}

// The picture at its own size, one pixel of it a pixel of the page, under the slider that stays.
function zoom(isOn) {
  $("compare").classList.toggle("zoomed", isOn);
  $("zoom").setAttribute("aria-pressed", String(isOn));
  panTo(50, 50);
}

function panTo(x, y) {
  for (const [axis, value] of [["x", x], ["y", y]]) {
    $("compare").dataset[axis] = Math.min(100, Math.max(0, value));
    $("compare").style.setProperty(`--${axis}`, `${$("compare").dataset[axis]}%`);
  }
}

// Move it by pixels; along a side that is seen whole, not at all.
function pan(right, down) {
  const { dataset, clientWidth, clientHeight } = $("compare");
  const { naturalWidth, naturalHeight } = $("after");
  const step = (by, hidden) => (hidden > 0 ? (100 * by) / hidden : 0);
  panTo(dataset.x - step(right, naturalWidth - clientWidth), dataset.y - step(down, naturalHeight - clientHeight));
}

// What happens --------------------------------------------------------------------------

function readAnswer(request) {
  const route = JSON.parse(request.getResponseHeader("X-Lorair-Route"));
  const timing = request.getResponseHeader("Server-Timing") ?? "";
  const times = [...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, stage, ms]) => [stage, Number(ms)]);
  route.router = Object.entries(route.probabilities).reduce((a, b) => (b[1] > a[1] ? b : a))[0];
  const notes = route.notes.filter((note) => !note.startsWith("the router is unsure"));
  if (route.unsure) notes.unshift("The router is unsure here. Compare with another choice.");
  return { blob: request.response, url: URL.createObjectURL(request.response), route, notes, times };
}

function newPicture(file) {
  const row = element("li");
  const button = row.appendChild(element("button"));
  button.type = "button";
  button.append(element("span", "label", file.name || "Pasted picture"), element("span", "said"));
  const picture = { file, before: URL.createObjectURL(file), results: new Map(), choice: "", strength: 1, shown: null, problem: null, row };
  button.addEventListener("click", () => visit(picture));
  return picture;
}

// Show a picture of the list; one that failed says why, and is tried again when nothing else is done.
async function visit(picture) {
  $("error").hidden = true;
  await show(picture);
  if (picture.problem) showProblem(picture.problem);
  if (!picture.shown && !state.run) await restoreAll([picture]);
}

// One after the other, until all are done, other pictures come, or it is cancelled.
async function restoreAll(pictures) {
  const run = (state.run = {});
  setBusy(true);
  for (const picture of pictures) {
    state.working = picture;
    mark();
    await restore(picture, run);
    if (run !== state.run) return;
  }
  endRun();
  if (pictures.length > 1) say(`${pictures.filter((one) => !one.problem).length} of ${pictures.length} restored.`);
}

function endRun() {
  state.run = state.request = state.working = null;
  if (!state.current) return;
  setBusy(false);
  mark();
}

async function restore(picture, run) {
  const wish = wishFor(picture);
  const isFirst = !picture.shown;
  const started = performance.now();
  if (!picture.results.has(keyOf(wish))) {
    $("error").hidden = true;
    const result = await ask(picture, wish, run);
    if (run !== state.run) return;
    if (!result) return back(picture);
    picture.results.set(keyOf(wish), result);
  }
  Object.assign(picture, { shown: wish, problem: null });
  if (picture === state.current) await showResult(picture);
  if (picture !== state.current || run !== state.run) return;
  const { router, probabilities, width, height } = picture.results.get(keyOf(wish)).route;
  const as = wish.choice || `${router}, ${percent(probabilities[router])} likely`;
  say(`Restored as ${as}, in ${seconds(performance.now() - started)}. ${width} × ${height} pixels.`);
  if (isFirst && state.pictures.length === 1) {
    setBusy(false);
    $("slider").focus({ preventScroll: true });
  }
}

// Send a picture; what comes back, or null with the picture's problem.
async function ask(picture, wish, run) {
  if (isTooLarge(picture.file)) return fail(picture, tooLarge(picture.file));
  const { request, ended } = send(picture.file, wish, newId());
  showProgress(0, "Uploading");
  await ended;
  if (run !== state.run) return null;
  state.request = null;
  if (request.status === 200) return readAnswer(request);
  if (request.status !== 401) return fail(picture, await problemOf(request));
  await askForToken();
  return run === state.run ? ask(picture, wish, run) : null;
}

function fail(picture, problem) {
  picture.problem = problem;
  if (picture === state.current) showProblem(problem);
  return null;
}

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(16).padStart(2, "0")).join("");

const isTooLarge = (file) => state.limits && file.size > state.limits.max_bytes;
const tooLarge = (file) => ({
  what: "This file is too large",
  hint: `It has ${megabytes(file.size)}, this server takes ${megabytes(state.limits.max_bytes)}`,
});

async function problemOf(request) {
  if (!request.status) return { what: "The server cannot be reached", hint: "It may have been stopped. Try again in a moment" };
  try {
    return JSON.parse(await request.response.text());
  } catch {
    return { what: `The server answered with status ${request.status}` };
  }
}

// To what was there before: the last result, or the start if this was the only picture.
function back(picture) {
  say("");
  if (!picture.shown) {
    if (state.pictures.length === 1) showStart();
    return;
  }
  Object.assign(picture, { choice: picture.shown.choice, strength: picture.shown.strength, problem: null });
  if (picture !== state.current) return;
  setStrength(picture.strength);
  $("format").value = picture.shown.format;
  showOptions(picture.results.get(keyOf(picture.shown)).route);
}

async function open(list) {
  const files = [...list];
  if (!files.length) return;
  $("error").hidden = true;
  if (files.every(isTooLarge)) return showProblem(tooLarge(files[0]));
  forget();
  state.pictures = files.map(newPicture);
  $("list").replaceChildren(...state.pictures.map((one) => one.row));
  $("list").hidden = files.length < 2;
  $("start").hidden = true;
  $("result").hidden = false;
  show(state.pictures[0]);
  $("name").focus();
  await restoreAll(state.pictures);
}

function forget() {
  const { request } = state;
  endRun();
  request?.abort();
  for (const { before, results } of state.pictures) {
    URL.revokeObjectURL(before);
    for (const { url } of results.values()) URL.revokeObjectURL(url);
  }
  Object.assign(state, { pictures: [], current: null });
}

function showStart() {
  forget();
  $("result").hidden = true;
  $("start").hidden = false;
  $("file").value = "";
  $("file").focus();
}

const nameOf = ({ file, shown }) => `${file.name.replace(/\.[^.]*$/, "") || "picture"}.restored.${shown.format}`;

// All that are restored, as one file; of equal names the later ones are numbered.
async function downloadAll() {
  const taken = new Map();
  const files = state.pictures.filter((one) => one.shown).map((picture) => {
    const name = nameOf(picture);
    taken.set(name, (taken.get(name) ?? 0) + 1);
    const number = taken.get(name) > 1 ? `-${taken.get(name)}` : "";
    return [name.replace(".restored", `${number}.restored`), picture.results.get(keyOf(picture.shown)).blob];
  });
  const link = element("a");
  link.href = URL.createObjectURL(await zip(files));
  link.download = "restored.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

// Events --------------------------------------------------------------------------------

$("file").addEventListener("change", (event) => open(event.target.files));
$("another").addEventListener("click", () => {
  $("error").hidden = true;
  showStart();
});
$("cancel").addEventListener("click", () => {
  const { request, working } = state;
  endRun();
  request?.abort();
  if (working) back(working);
});
$("dismiss").addEventListener("click", () => ($("error").hidden = true));
$("example").addEventListener("click", async () => {
  const answer = await fetch("example.jpg");
  open([new File([await answer.blob()], "example.jpg", { type: "image/jpeg" })]);
});
$("options").addEventListener("change", async (event) => {
  state.current.choice = event.target.value;
  await restoreAll([state.current]);
  document.querySelector("#options input:checked").focus({ preventScroll: true });
});
$("strength").addEventListener("input", () => setStrength($("strength").value / 100));
$("strength").addEventListener("change", async () => {
  state.current.strength = $("strength").value / 100;
  await restoreAll([state.current]);
  $("strength").focus();
});
$("format").addEventListener("change", async () => {
  await restoreAll(state.pictures.filter((one) => one.shown));
  $("format").focus();
});
$("all").addEventListener("click", downloadAll);
$("zoom").addEventListener("click", () => zoom(!$("compare").matches(".zoomed")));

$("slider").addEventListener("input", (event) => moveTo(Number(event.target.value)));
$("slider").addEventListener("keydown", (event) => {
  const [right, down] = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [];
  if (right === undefined || !event.shiftKey || !compare.matches(".zoomed")) return;
  pan(40 * right, 40 * down);
  event.preventDefault();
});
const compare = $("compare");
const fromLeft = ({ clientX }) => clientX - compare.getBoundingClientRect().left;
const follow = (event) => moveTo((fromLeft(event) / compare.clientWidth) * 100);
compare.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || compare.matches(".only-before, .only-after:not(.zoomed)")) return;
  compare.setPointerCapture(event.pointerId);
  const handle = ($("slider").value / 100) * compare.clientWidth;
  compare.classList.toggle("panning", compare.matches(".zoomed") && Math.abs(fromLeft(event) - handle) > 28);
  if (!compare.matches(".panning")) follow(event);
  $("slider").focus({ preventScroll: true });
  event.preventDefault();
});
compare.addEventListener("pointermove", (event) => {
  if (!compare.hasPointerCapture(event.pointerId)) return;
  if (compare.matches(".panning")) pan(event.movementX, event.movementY);
  else follow(event);
});

let depth = 0; // of nested elements that a file is dragged over
const dragging = (change) => {
  depth = Math.max(0, depth + change);
  document.body.classList.toggle("dragging", depth > 0);
};
addEventListener("dragenter", (event) => {
  event.preventDefault();
  dragging(1);
});
addEventListener("dragleave", () => dragging(-1));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  dragging(-depth);
  open(event.dataTransfer.files);
});
addEventListener("paste", (event) => open(event.clipboardData.files));

loadModel().catch(() => showError("The server does not answer", "Load this page again in a moment."));
