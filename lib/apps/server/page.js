const LOOK_EVERY_MS = 250;
// where the server names another field than the page has
const FIELD = { choruses: "length", bars: "length", seconds: "length", body: "midi" };
let job = null;

function say(text) { byId("said").textContent = text; }

async function ask(path, options = {}) {
  const headers = { ...options.headers };
  const token = byId("token").value || sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) { if (token) sessionStorage.setItem("token", token); return answer; }
  if (answer.status === 401) {
    byId("tokenRow").hidden = false;
    sessionStorage.removeItem("token");
    byId("token").focus();
  }
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail || `HTTP ${answer.status}`), { errors: problem.errors || [] });
}

async function base64(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(""));
}

async function order() {
  const given = [...new FormData(byId("knobs"))].filter(([, value]) => typeof value === "string" && value.trim());
  const wanted = Object.fromEntries(given.map(([name, value]) => [name, value.trim()]));
  if (byId("length").value) wanted[byId("unit").value] = byId("length").value;
  const [first, second, share] = [byId("style").value, byId("mix").value, Number(byId("share").value)];
  const mixed = `${first}:${(1 - share).toFixed(2)},${second}:${share.toFixed(2)}`;
  if (first || second) wanted.style = first && second && first !== second ? mixed : first || second;
  for (const id of ["midi", "theme"]) if (byId(id).files.length) wanted[id] = await base64(byId(id).files[0]);
  return wanted;
}

function showFaults(errors) {
  for (const old of document.querySelectorAll(".fault")) old.remove();
  for (const field of document.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  for (const { field, detail } of errors) {
    const name = field.split(".")[0], knob = byId(FIELD[name] || name);
    if (!knob) continue;
    const words = document.createElement("small");
    words.className = "fault";
    words.setAttribute("role", "alert");
    words.textContent = detail;
    knob.setAttribute("aria-invalid", "true");
    knob.closest("label").append(words);
  }
}

async function follow(state) {
  for (; ["queued", "running"].includes(state.state); state = await (await ask(state.links.self)).json()) {
    byId("progress").value = state.progress;
    say(state.state === "queued" ? `${state.ahead} ahead` : "playing");
    await new Promise(resolve => setTimeout(resolve, LOOK_EVERY_MS));
  }
  return state;
}

async function generate() {
  showFaults([]);
  busy(true);
  try {
    const headers = { "Content-Type": "application/json" };
    job = await (await ask("/v1/solos", { method: "POST", body: JSON.stringify(await order()), headers })).json();
    byId("cancel").disabled = false;
    job = await follow(job);
    if (job.state === "done") {
      byId("player").srcdoc = await (await ask(job.links.html)).text();
      byId("player").hidden = byId("files").hidden = false;
    }
    say(job.state === "failed" ? `failed: ${job.error}` : job.state);
  } catch (error) {
    showFaults(error.errors || []);
    say(error.errors && error.errors.length ? "Not like this: see above." : error.message);
  }
  busy(false);
}

function busy(is) {
  byId("generate").disabled = is;
  byId("cancel").disabled = true;
  byId("progress").hidden = !is;
  if (is) { byId("progress").value = 0; say("asking"); }
}

async function cancel() {
  byId("cancel").disabled = true;
  await ask(job.links.self, { method: "DELETE" }).catch(error => say(error.message));
}

async function save(kind) {
  download(await (await ask(job.links[kind])).blob(), `solo-${job.id.slice(0, 8)}.${kind}`);
}

async function fillStyles() {
  try {
    const { styles } = await (await ask("/v1/styles")).json();
    for (const id of ["style", "mix"]) while (byId(id).options.length > 1) byId(id).remove(1);
    for (const id of ["style", "mix"]) for (const name of styles) byId(id).add(new Option(name, name));
  } catch (error) { say(error.message); }
}

byId("knobs").addEventListener("submit", event => {
  event.preventDefault();
  if (!byId("generate").disabled) generate();
});
byId("cancel").addEventListener("click", cancel);
byId("dice").addEventListener("click", () => { byId("seed").value = Math.floor(Math.random() * 2 ** 31); });
byId("token").addEventListener("change", fillStyles);
for (const [id, kind] of [["saveMid", "mid"], ["saveWav", "wav"], ["saveJson", "json"]])
  byId(id).addEventListener("click", () => save(kind).catch(error => say(error.message)));
if (location.protocol !== "file:") fillStyles();
