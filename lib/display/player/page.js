// The page: buttons, keys, words for those who see and those who hear, and the first frame.

const ICONS = { play: "M3 1.5v13l11-6.5z", pause: "M3 1.5h4v13H3zM9 1.5h4v13H9z" };
const buttons = Object.fromEntries(
  ["play", "loop", "follow", "keep", "zoomOut", "zoomIn", "zoomAll", "saveMidi", "saveMp3", "saveWav"].map(id => [id, byId(id)]));
const [clock, chord, takes, remark, said, speed] = ["clock", "chord", "takes", "remark", "said", "speed"].map(byId);
const spoken = { clock: "", chord: "", place: -1 };

function say(text) { said.textContent = text; }

function setText(element, key, text) {  // touches the page only where something has changed
  if (spoken[key] === text) return;
  spoken[key] = text;
  element.textContent = text;
}

function tell() {
  setText(clock, "clock", `${clockOf(state.time)} / ${clockOf(state.take.seconds)}`);
  setText(chord, "chord", chordAt(state.time));
  const step = state.playing ? 5 : 0.1, rounded = Math.round(state.time / step) * step;  // no reader is told every second
  if (spoken.place === rounded) return;
  spoken.place = rounded;
  tellPlace();
}

function tellPlace() {
  const names = soundingAt(state.take, state.time).slice(0, 10).map(row => nameOf(state.take.notes[row][2])).join(" ");
  const bar = barAt(state.time) ? `bar ${barAt(state.time)}` : "";
  roll.setAttribute("aria-valuenow", state.time.toFixed(1));
  const words = [`${clockOf(state.time, 1)} of ${clockOf(state.take.seconds)}`, bar, chordAt(state.time), names];
  roll.setAttribute("aria-valuetext", words.filter(Boolean).join(", "));
}

function showPlaying() {
  byId("playIcon").setAttribute("d", state.playing ? ICONS.pause : ICONS.play);
  buttons.play.querySelector("span").textContent = state.playing ? "Pause" : state.wanted ? "Loading" : "Play";
}

function showTake() {
  const { take } = state;
  for (const [row, button] of [...takes.children].entries()) {
    const one = music.takes[row], chosen = one === take;
    button.setAttribute("aria-checked", chosen);
    button.tabIndex = chosen ? 0 : -1;
    button.classList.toggle("kept", kept.has(one.id));
    button.setAttribute("aria-label", one.name + (kept.has(one.id) ? ", favourite" : ""));
  }
  buttons.keep.setAttribute("aria-pressed", kept.has(take.id));
  remark.textContent = take.remark;
  remark.hidden = !take.remark;
  buttons.play.disabled = buttons.saveWav.disabled = buttons.saveMp3.disabled = !hasSound();
  roll.setAttribute("aria-valuemax", total);
  tellPlace();
}

function press(button, on) { button.setAttribute("aria-pressed", on); }

function setFollow(on) {
  state.follow = on;
  press(buttons.follow, on);
  redraw(on && reveal(state.time));
}

function setLoop(on) {
  state.loop = on;
  press(buttons.loop, on);
  say(on ? (state.selection ? `Loop from ${state.selection.map(time => clockOf(time, 1)).join(" to ")}` : "Loop over all of it") : "Loop off");
  redraw(false);
}

function select(from, to) {
  state.selection = [Math.min(from, to), Math.max(from, to)];
  redraw(false);
}

function finishSelection() {  // a selection is for hearing: it loops, and the place is in it
  const [from, to] = state.selection;
  if (to - from < 0.05) return dropSelection();
  setLoop(true);
  if (state.time < from || state.time >= to) moveTo(from);
  tellDesk(from, to);
}

function tellDesk(from, to) {  // a desk around this player (take_strip.py); a frame that may not see around itself has none
  const field = window.frameElement?.closest(".player-desk")?.querySelector(".player-selection input");
  if (!field) return;
  field.value = `${from} ${to} ${performance.now()}`;  // the time: the same selection counts again
  field.dispatchEvent(new Event("input", { bubbles: true }));
}

function selectEdge(row) {  // from here, or to here
  const edges = [...(state.selection ?? [0, total])];
  edges[row] = state.time;
  if (edges[0] < edges[1]) select(...edges);
  else select(...(row ? [0, state.time] : [state.time, total]));
  finishSelection();
}

function dropSelection() {
  state.selection = null;
  setLoop(false);
}

function seek(time) {
  if (state.playing) advance();
  moveTo(time);
  say(`${clockOf(state.time, 1)} ${chordAt(state.time)}`);
}

function zoomBy(factor, at) { if (zoom(factor, at)) redraw(); }

function showAll() { if (setView(0, total)) redraw(); }

function stepSpeed(by) {
  speed.selectedIndex = clamp(speed.selectedIndex + by, 0, SPEEDS.length - 1);
  speed.onchange();
}

function fillSpeeds() {
  const tempo = rate => state.take.tempo.map(bpm => Math.round(bpm * rate)).join("\u2013");  // where it changes: from, to
  const words = rate => `${rate}\u00d7` + (tempo(rate) ? ` (${tempo(rate)} bpm)` : "");
  speed.replaceChildren();
  for (const rate of SPEEDS) speed.add(new Option(words(rate), rate, rate === 1, rate === state.rate));
  speed.onchange = () => { setSpeed(Number(speed.value)); say(`Speed ${speed.value}`); };
}

function fillTakes() {
  if (music.takes.length < 2) return;
  takes.hidden = false;
  takes.replaceChildren();
  for (const take of music.takes) {
    const button = document.createElement("button"), name = document.createElement("span");
    Object.assign(button, { type: "button", onclick: () => choose(take), title: take.name });
    button.setAttribute("role", "radio");
    name.textContent = take.name;
    button.append(name);
    takes.append(button);
  }
  takes.onkeydown = event => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    const row = (music.takes.indexOf(state.take) + by + music.takes.length) % music.takes.length;
    choose(music.takes[row]);
    takes.children[row].focus();
    event.preventDefault();
    event.stopPropagation();
  };
}

const toggle = () => state.playing || state.wanted ? stopSound() : startSound();
const page = by => look(() => setView(view.start + by * view.span * 0.9));
const KEYS = {
  " ": toggle, Home: () => seek(0), End: () => seek(state.take.seconds - 1), PageUp: () => page(-1), PageDown: () => page(1),
  "+": () => zoomBy(0.7), "=": () => zoomBy(0.7), "-": () => zoomBy(1 / 0.7), 0: showAll, "[": () => selectEdge(0), "]": () => selectEdge(1),
  l: () => setLoop(!state.loop), f: () => setFollow(!state.follow), m: () => keep(state.take), Escape: dropSelection,
  "<": () => stepSpeed(-1), ">": () => stepSpeed(1), ",": () => stepSpeed(-1), ".": () => stepSpeed(1),
};

function onKey(event) {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || target.matches?.("select, input")) return;
  if (target.matches?.("button, summary") && (key === " " || key === "Enter")) return;  // their own
  const arrow = { ArrowLeft: -1, ArrowRight: 1, ...(target === roll ? { ArrowDown: -1, ArrowUp: 1 } : {}) }[key];
  const take = /^[1-9]$/.test(key) && music.takes[key - 1];
  let act = KEYS[key.length === 1 ? key.toLowerCase() : key];
  if (arrow) act = () => seek(state.time + arrow * (event.shiftKey ? 0.1 : 2));
  if (take) act = () => choose(take);
  if (!act) return;
  act();
  event.preventDefault();
}

function listenToButtons() {
  const acts = {
    play: toggle, loop: KEYS.l, follow: KEYS.f, keep: KEYS.m, zoomOut: KEYS["-"], zoomIn: KEYS["+"], zoomAll: showAll,
    saveMidi: () => saveMidi(state.take), saveMp3: () => saveMp3(state.take), saveWav: () => saveWav(state.take),
  };
  for (const [id, act] of Object.entries(acts)) buttons[id].onclick = act;
  document.addEventListener("keydown", onKey);
}

function onResize() { if (measure(roll)) { forgetOverview(); redraw(); } }

function begin() {
  for (const left of document.querySelectorAll("audio")) left.remove();  // in a copy that a browser saved
  readColours();
  fillSpeeds();
  fillTakes();
  listenToButtons();
  listenToPointers();
  byId("contents").textContent = describeMusic();
  showPlaying();
  showTake();
  measure(roll);
  setView(0, firstSpan());
  frame();
  new ResizeObserver(onResize).observe(roll);
  dark.addEventListener("change", () => { readColours(); redraw(); });
  prepareOnSight();
}

function prepareOnSight() {  // a notebook holds many players: only those that are looked at decode their sound
  new IntersectionObserver((changes, watcher) => {
    if (!changes.some(change => change.isIntersecting)) return;
    watcher.disconnect();
    music.takes.forEach((take, row) => setTimeout(() => soundOf(take), 50 * (row + 1)));  // after the first picture
  }).observe(roll);
}

begin();
