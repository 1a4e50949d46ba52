// What is kept while the test goes on, the order of this listener, and the way from item to item.

const SHELF = `listening test ${test.test}`;
const state = readShelf() ?? { listener: token(), seed: new Uint32Array(crypto.getRandomValues(new Uint32Array(1)))[0],
                               rater: "", plays: "", began: "", at: -1, answers: [] };
const order = makeOrder(state.seed);
let shownAt = 0;

function token() {
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

function randomBy(seed) {  // mulberry32: small, and good enough to shuffle
  return () => {
    seed = seed + 0x6D2B79F5 | 0;
    let bits = Math.imul(seed ^ seed >>> 15, 1 | seed);
    bits = bits + Math.imul(bits ^ bits >>> 7, 61 | bits) ^ bits;
    return ((bits ^ bits >>> 14) >>> 0) / 4294967296;
  };
}

function shuffled(values, random) {
  const mixed = [...values];
  for (let at = mixed.length - 1; at > 0; at--) {
    const other = Math.floor(random() * (at + 1));
    [mixed[at], mixed[other]] = [mixed[other], mixed[at]];
  }
  return mixed;
}

function makeOrder(seed) {  // for each kind its practice, then its items; takes in an order of their own in each
  const random = randomBy(seed);
  return test.practice.flatMap(practice => {
    const items = shuffled(test.items.filter(item => item.kind === practice.kind), random);
    return [practice, ...items].map(item => ({ ...item, takes: shuffled(item.takes, random), practice: item === practice }));
  });
}

function say(text) {
  if (byId("missing").textContent !== text) byId("missing").textContent = text;  // what is set anew is read aloud anew
}

function show() {
  const { at } = state, item = order[at];
  byId("welcome").hidden = at >= 0;
  byId("item").hidden = !item;
  byId("end").hidden = at < order.length;
  byId("place").hidden = !item;
  byId("next").hidden = at >= order.length;
  byId("next").textContent = at < 0 ? "Begin" : "Next";
  stopAll();
  say("");
  if (item) showItem(item);
  if (at >= order.length) byId("text").value = results();
  byId("place").textContent = item ? `${at + 1} of ${order.length}` : "";
  shownAt = performance.now();
  showMissing();
  if (at >= 0) byId("head").focus();
  scrollTo(0, 0);
}

function next() {
  const item = order[state.at], wanting = item && missing();
  if (wanting) return say(wanting);
  if (state.at < 0) Object.assign(state, { rater: byId("rater").value.trim(), plays: byId("plays").value, began: new Date().toISOString() });
  if (item && !item.practice) state.answers.push(answerOf(item));
  state.at += 1;
  keep();
  show();
}

function showMissing() {
  const wanting = order[state.at] ? missing() : "";
  byId("next").setAttribute("aria-disabled", String(wanting !== ""));
  if (order[state.at]) say(wanting);
}

function results() {
  const { listener, seed, rater, plays, began, answers } = state;
  return JSON.stringify({ kind: "listening test answers", test: test.test, listener, seed, rater, plays, began,
                          ended: new Date().toISOString(), browser: navigator.userAgent, answers }, null, 1);
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([results()], { type: "application/json" }));
  link.download = `answers-${test.test}-${state.listener}.json`;
  link.click();
}

byId("next").addEventListener("click", next);
byId("save").addEventListener("click", save);
