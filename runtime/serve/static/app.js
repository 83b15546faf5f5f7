// The page's only script: a picture goes to /v1/restore, what comes back is compared with it.

const $ = (id) => document.getElementById(id);
const state = { file: null, before: null, results: new Map(), choice: "", shown: null, request: null, model: null, limits: null };
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
const wanted = () => ({ choice: state.choice, strength: $("strength").value / 100, format: $("format").value });
const keyOf = ({ choice, strength, format }) => `${strength} ${format} ${choice}`;

function setStrength(strength) {
  $("strength").value = 100 * strength;
  $("percent").textContent = percent(strength);
}

// Send the picture; resolves when there is an answer, or it was given up.
function send(file, { choice, strength, format }, id) {
  const query = new URLSearchParams({ id, strength, format });
  if (choice) query.set("expert", choice);
  const request = new XMLHttpRequest();
  state.request = request;
  request.open("POST", `v1/restore?${query}`);
  request.responseType = "blob";
  request.setRequestHeader("Content-Type", file.type.startsWith("image/") ? mediaOf(file) : "application/octet-stream");
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
  const known = ["png", "jpeg", "webp", "tiff", "bmp", "avif", "gif"];
  return known.includes(file.type.slice(6)) ? file.type : "application/octet-stream";
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

function showState({ state: now, ahead, fraction }) {
  if (now === "queued") showProgress(null, ahead ? `Waiting, ${ahead} before you` : "Waiting for a place");
  else if (now === "running") showProgress(fraction || null, fraction ? `Restoring, ${percent(fraction)}` : "Restoring");
}

// What is seen --------------------------------------------------------------------------

function showProgress(fraction, text) {
  if (!state.request) return;
  if (fraction === null) $("progress").removeAttribute("value");
  else $("progress").value = fraction;
  if ($("status").textContent !== text) say(text);
}

function setBusy(busy) {
  $("result").classList.toggle("busy", busy);
  $("result").setAttribute("aria-busy", String(busy));
  $("working").hidden = !busy;
  $("choices").disabled = busy || !state.results.size;
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
  Object.assign(input, { type: "radio", name: "expert", value, checked: value === state.choice });
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

async function showResult(result, isFirst) {
  $("after").src = result.url;
  await $("after").decode();
  fit($("after"));
  $("compare").classList.remove("only-before");
  if (isFirst) moveTo(50);
  showOptions(result.route);
  $("notes").replaceChildren(...result.notes.map((note) => element("li", "", note)));
  $("download").href = result.url;
  const { format } = state.shown;
  $("download").download = `${state.file.name.replace(/\.[^.]*$/, "") || "picture"}.restored.${format}`;
  $("download").textContent = `Download ${$("format").selectedOptions[0].text.split(",")[0]}`;
  $("download").hidden = false;
  const times = result.times.flatMap(([stage, ms]) => [element("dt", "", stage), element("dd", "", seconds(ms))]);
  $("times").replaceChildren(...times);
  $("details").hidden = false;
}

// What happens --------------------------------------------------------------------------

function readAnswer(request) {
  const route = JSON.parse(request.getResponseHeader("X-Lorair-Route"));
  const timing = request.getResponseHeader("Server-Timing") ?? "";
  const times = [...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, stage, ms]) => [stage, Number(ms)]);
  route.router = Object.entries(route.probabilities).reduce((a, b) => (b[1] > a[1] ? b : a))[0];
  const notes = route.notes.filter((note) => !note.startsWith("the router is unsure"));
  if (route.unsure) notes.unshift("The router is unsure here. Compare with another choice.");
  return { url: URL.createObjectURL(request.response), route, notes, times };
}

async function restore() {
  const wish = wanted();
  const known = state.results.get(keyOf(wish));
  if (known) {
    state.shown = wish;
    await showResult(known, false);
    say(`Restored as ${wish.choice || known.route.router}.`);
    return;
  }
  $("error").hidden = true;
  const started = performance.now();
  const { request, ended } = send(state.file, wish, newId());
  setBusy(true);
  showProgress(0, "Uploading");
  await ended;
  if (request !== state.request) return; // another picture came in between
  state.request = null;
  setBusy(false);
  if (request.status === 200) await accept(request, wish, started);
  else await refuse(request);
}

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(12)), (n) => n.toString(16).padStart(2, "0")).join("");

async function accept(request, wish, started) {
  const result = readAnswer(request);
  const isFirst = state.results.size === 0;
  const turned = [$("strength"), $("format")].includes(document.activeElement);
  state.results.set(keyOf(wish), result);
  state.shown = wish;
  await showResult(result, isFirst);
  setBusy(false);
  const { router, probabilities, width, height } = result.route;
  const as = wish.choice || `${router}, ${percent(probabilities[router])} likely`;
  say(`Restored as ${as}, in ${seconds(performance.now() - started)}. ${width} × ${height} pixels.`);
  if (isFirst) $("slider").focus({ preventScroll: true });
  else if (!turned) document.querySelector("#options input:checked").focus({ preventScroll: true });
}

async function refuse(request) {
  if (request.status === 401) {
    await askForToken();
    await restore();
    return;
  }
  back();
  if (request.status) showProblem(await problemOf(request));
  else if (!request.aborted) showError("The server cannot be reached", "It may have been stopped. Try again in a moment.");
}

async function problemOf(request) {
  try {
    return JSON.parse(await request.response.text());
  } catch {
    return { what: `The server answered with status ${request.status}` };
  }
}

// To what was there before: the last result, or the start.
function back() {
  say("");
  if (state.results.size === 0) {
    showStart();
    return;
  }
  state.choice = state.shown.choice;
  setStrength(state.shown.strength);
  $("format").value = state.shown.format;
  showOptions(state.results.get(keyOf(state.shown)).route);
}

async function open(file) {
  if (!file) return;
  $("error").hidden = true;
  if (state.limits && file.size > state.limits.max_bytes) {
    showError("This file is too large", `It has ${megabytes(file.size)}, this server takes ${megabytes(state.limits.max_bytes)}.`);
    return;
  }
  forget();
  state.file = file;
  state.before = URL.createObjectURL(file);
  $("before").src = state.before;
  $("name").textContent = file.name || "Pasted picture";
  $("compare").className = "compare only-before";
  $("start").hidden = true;
  $("result").hidden = false;
  $("download").hidden = $("details").hidden = true;
  $("notes").replaceChildren();
  showOptions(null);
  $("name").focus();
  $("before").onload = (event) => fit(event.target);
  $("before").onerror = () => {
    $("compare").classList.add("only-after");
    $("notes").prepend(element("li", "", "This browser cannot show the picture as it was, only as restored."));
  };
  await restore();
}

function forget() {
  const { request } = state;
  state.request = null;
  request?.abort();
  for (const { url } of state.results.values()) URL.revokeObjectURL(url);
  if (state.before) URL.revokeObjectURL(state.before);
  Object.assign(state, { file: null, before: null, results: new Map(), choice: "", shown: null });
  setStrength(1);
}

function showStart() {
  forget();
  $("result").hidden = true;
  $("start").hidden = false;
  $("file").value = "";
  $("file").focus();
}

// Events --------------------------------------------------------------------------------

$("file").addEventListener("change", (event) => open(event.target.files[0]));
$("another").addEventListener("click", () => {
  $("error").hidden = true;
  showStart();
});
$("cancel").addEventListener("click", () => {
  state.request.aborted = true;
  state.request.abort();
});
$("dismiss").addEventListener("click", () => ($("error").hidden = true));
$("example").addEventListener("click", async () => {
  const answer = await fetch("example.jpg");
  open(new File([await answer.blob()], "example.jpg", { type: "image/jpeg" }));
});
$("options").addEventListener("change", (event) => {
  state.choice = event.target.value;
  restore();
});
$("strength").addEventListener("input", () => setStrength($("strength").value / 100));
$("strength").addEventListener("change", restore);
$("format").addEventListener("change", restore);

$("slider").addEventListener("input", (event) => moveTo(Number(event.target.value)));
const compare = $("compare");
const follow = (event) => {
  const { left, width } = compare.getBoundingClientRect();
  moveTo(((event.clientX - left) / width) * 100);
};
compare.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || compare.matches(".only-before, .only-after")) return;
  compare.setPointerCapture(event.pointerId);
  follow(event);
  $("slider").focus({ preventScroll: true });
  event.preventDefault();
});
compare.addEventListener("pointermove", (event) => {
  if (compare.hasPointerCapture(event.pointerId)) follow(event);
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
  open(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => open(event.clipboardData.files[0]));

loadModel().catch(() => showError("The server does not answer", "Load this page again in a moment."));
