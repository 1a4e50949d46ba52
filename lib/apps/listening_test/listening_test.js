// The page of a listening test: items in an order of this listener's own, a player each take, answers saved as JSON.

const test = valuesOf("test");
const SHELF = `listening test ${test.test}`;
const WORDS = ["bad", "poor", "fair", "good", "excellent"];
const NEITHER = "neither";
const state = readShelf()
  ?? { listener: newToken(), order: makeOrder(), rater: "", plays: "", began: "", at: -1, answers: [] };
const { order } = state, urls = new Map();
let players = [], shownAt = 0;

// --- What is kept while the test goes on

function newToken() {
  return [...crypto.getRandomValues(new Uint8Array(8))].map(byte => byte.toString(16).padStart(2, "0")).join("");
}

function readShelf() {
  try {
    return JSON.parse(localStorage.getItem(SHELF));
  } catch {  // a browser or frame that keeps nothing: the test is done in one go
    return null;
  }
}

function keep() {
  try {
    localStorage.setItem(SHELF, JSON.stringify(state));
  } catch {}
}

function shuffled(values) {
  return values.map(value => [Math.random(), value]).sort(([a], [b]) => a - b).map(([, value]) => value);
}

function makeOrder() {  // for each kind its practice, then its items; takes in an order of their own in each
  return test.practice.flatMap(practice => {
    const items = shuffled(test.items.filter(item => item.kind === practice.kind));
    return [practice, ...items].map(item => ({ ...item, takes: shuffled(item.takes), practice: item === practice }));
  });
}

// --- The takes of one item: an <audio> each, one sounds at a time; how much of each has been heard is counted

function urlOf(take) {
  if (!urls.has(take)) urls.set(take, URL.createObjectURL(blobOf(test.sounds[take])));
  return urls.get(take);
}

function makePlayer(take, name, open) {
  const sound = new Audio(urlOf(take)), card = document.createElement("div");
  card.className = "take";
  card.innerHTML = `<h2>${name}</h2><button type="button" aria-pressed="false" aria-label="Play ${name}">Play</button>
    <input type="range" min="0" max="1000" value="0" aria-label="Position in ${name}">
    <span class="heard">not yet</span>`;
  const [, button, slider, heard] = card.children, player = { take, name, open, sound, card, heardS: 0, last: 0 };
  button.addEventListener("click", () => sound.paused ? start(player) : sound.pause());
  slider.addEventListener("input", () => {
    if (sound.duration) sound.currentTime = slider.value / 1000 * sound.duration;
  });
  sound.addEventListener("timeupdate", () => {
    const step = sound.currentTime - player.last;
    if (step > 0 && step < 1 && !sound.seeking) player.heardS += step;
    player.last = sound.currentTime;
    if (sound.duration) slider.value = 1000 * sound.currentTime / sound.duration;
    if (isHeard(player)) heard.textContent = "heard";
    showMissing();
  });
  for (const event of ["play", "pause", "ended"]) sound.addEventListener(event, () => {
    button.textContent = sound.paused ? "Play" : "Pause";
    button.setAttribute("aria-label", `${button.textContent} ${name}`);
    button.setAttribute("aria-pressed", String(!sound.paused));
  });
  sound.addEventListener("error", () => {
    player.broken = true;  // nobody is held up by it; the answer says so
    heard.textContent = "can't be played";
    showMissing();
  });
  return player;
}

function start(player) {
  for (const other of players) if (other !== player) other.sound.pause();
  player.sound.play().catch(() => say("The browser wants another press on Play."));
}

// a take shorter than what must be heard is heard when nearly all of it was
const isHeard = ({ sound, heardS, broken }) =>
  broken || heardS >= Math.min(test.mustHear, 0.8 * (sound.duration || test.mustHear));
const hidden = () => players.filter(player => !player.open);  // all but the open reference

// --- One item: two takes and a choice, or several takes and a scale each

function showItem(item) {
  const isPair = item.kind === "ab", note = item.reference ? " One of them is the reference itself." : "";
  byId("practice").hidden = !item.practice;
  byId("question").textContent = isPair ? `Which of the two is better as ${test.question}?`
    : `How good is each as ${test.question}, from 0 to 100?${note}`;
  players = item.takes.map((take, row) => makePlayer(take, String.fromCharCode(65 + row), false));
  if (item.reference) players.unshift(makePlayer(item.reference, "Reference", true));
  byId("takes").replaceChildren(...players.map(player => player.card));
  byId("choice").hidden = !isPair;
  byId("choice").replaceChildren(byId("choice").querySelector("legend"));
  if (isPair) [...players, { name: "No difference", take: NEITHER }].forEach(addChoice);
  else hidden().forEach(addScale);
}

function addChoice({ name, take }) {
  const label = document.createElement("label"), radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "choice", value: take });
  radio.addEventListener("change", showMissing);
  label.append(radio, name);
  byId("choice").append(label);
}

function addScale(player) {
  const score = document.createElement("div"), id = `score ${player.name}`;
  score.className = "score unrated";
  score.innerHTML = `<label for="${id}"><span>How good is ${player.name}?</span><output>not rated</output></label>
    <input id="${id}" type="range" min="0" max="100" value="50">
    <div class="words" aria-hidden="true">${WORDS.map(word => `<span>${word}</span>`).join("")}</div>`;
  const [label, scale] = score.children;
  const rate = () => {
    player.score = Number(scale.value);
    const word = WORDS[Math.min(4, Math.floor(player.score / 20))];
    scale.setAttribute("aria-valuetext", `${scale.value}, ${word}`);
    label.querySelector("output").textContent = `${scale.value}: ${word}`;
    score.classList.remove("unrated");
    showMissing();
  };
  for (const event of ["input", "change", "click"]) scale.addEventListener(event, rate);  // a click may move nothing
  player.card.append(score);
}

const chosen = () => byId("choice").querySelector("input:checked")?.value;

function missing() {  // what is still to do before Next, in words
  const names = wanted => players.filter(wanted).map(player => player.name).join(", ");
  const unheard = names(player => !isHeard(player));
  if (unheard) return `Still to hear: ${unheard}.`;
  if (order[state.at].kind === "ab") return chosen() ? "" : "Which one?";
  const unrated = names(player => !player.open && player.score === undefined);
  return unrated ? `Still to rate: ${unrated}.` : "";
}

function answerOf(item) {
  const rounded = value => Math.round(10 * value) / 10;
  const byTake = value => Object.fromEntries(hidden().map(player => [player.take, value(player)]));
  const given = item.kind === "ab" ? { choice: chosen() } : { scores: byTake(player => player.score) };
  return { item: item.id, kind: item.kind, shown: item.takes, heard_s: byTake(player => rounded(player.heardS)),
           broken: players.filter(player => player.broken).map(player => player.take),
           seconds: rounded((performance.now() - shownAt) / 1000), ...given };
}

// --- The way from item to item

function say(text) {
  if (byId("missing").textContent !== text) byId("missing").textContent = text;  // what is set anew is read aloud anew
}

function show() {
  const { at } = state, item = order[at];
  byId("welcome").hidden = at >= 0;
  byId("item").hidden = byId("place").hidden = !item;
  byId("end").hidden = at < order.length;
  byId("next").hidden = at >= order.length;
  byId("next").textContent = at < 0 ? "Begin" : "Next";
  byId("place").textContent = item ? `${at + 1} of ${order.length}` : "";
  for (const { sound } of players) sound.pause();
  say("");
  if (item) showItem(item);
  if (at >= order.length) byId("text").value = results();
  shownAt = performance.now();
  showMissing();
  if (at >= 0) byId("head").focus();
  scrollTo(0, 0);
}

function showMissing() {
  const wanting = order[state.at] ? missing() : "";
  byId("next").setAttribute("aria-disabled", String(wanting !== ""));
  if (order[state.at]) say(wanting);
}

function next() {
  const item = order[state.at], wanting = item && missing();
  if (wanting) return say(wanting);
  if (!item) {
    const began = new Date().toISOString();
    Object.assign(state, { rater: byId("rater").value.trim(), plays: byId("plays").value, began });
  }
  if (item && !item.practice) state.answers.push(answerOf(item));
  state.at += 1;
  keep();
  show();
}

function results() {
  const { listener, rater, plays, began, answers } = state;
  return JSON.stringify({ kind: "listening test answers", test: test.test, listener, rater, plays, began,
                          ended: new Date().toISOString(), browser: navigator.userAgent, answers }, null, 1);
}

function save() {
  download(new Blob([results()], { type: "application/json" }), `answers-${test.test}-${state.listener}.json`);
}

byId("next").addEventListener("click", next);
byId("save").addEventListener("click", save);
const minutes = Math.ceil(order.reduce((sum, item) => sum + 20 * item.takes.length + 10, 0) / 60);
byId("minutes").textContent = minutes < 2 ? "a minute or two" : `${minutes} minutes`;
show();
