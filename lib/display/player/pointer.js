// Mouse, touch and wheel on the roll and the overview.

const STILL_PX = 5;  // a pointer that moves less has clicked
const roll = byId("roll"), tip = byId("tip");
const pointers = new Map();  // id -> {x, y}, where each is
let drag = null;  // {kind: "select" | "scroll" | "pinch", ...}

const placeOf = event => {
  const box = roll.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
};

function onDown(event) {
  if (event.button !== 0) return;
  roll.focus({ preventScroll: true });
  const at = placeOf(event), selects = event.pointerType !== "touch" || at.y < topOf();
  pointers.set(event.pointerId, at);
  if (roll.hasPointerCapture && event.isTrusted) roll.setPointerCapture(event.pointerId);
  if (pointers.size === 2) drag = { kind: "pinch", apart: spread(), time: timeAt(middle()) };
  else if (pointers.size === 1) drag = { kind: selects ? "select" : "scroll", from: at, time: timeAt(at.x), start: view.start, moved: false };
}

const spread = () => { const [a, b] = [...pointers.values()]; return Math.max(20, Math.hypot(a.x - b.x, a.y - b.y)); };
const middle = () => { const [a, b] = [...pointers.values()]; return (a.x + b.x) / 2; };

function onMove(event) {
  const at = placeOf(event);
  if (!pointers.has(event.pointerId)) return hover(at);
  pointers.set(event.pointerId, at);
  hover(null);
  if (drag?.kind === "pinch" && pointers.size === 2) return pinch();
  if (!drag || drag.kind === "pinch" || (!drag.moved && Math.abs(at.x - drag.from.x) < STILL_PX)) return;
  drag.moved = true;
  if (drag.kind === "select") select(drag.time, timeAt(clamp(at.x, left(), place.width)));
  else look(() => setView(drag.start - (at.x - drag.from.x) / rollWidth() * view.span));
}

function pinch() {  // what lay between the fingers stays there
  const span = clamp(view.span * drag.apart / spread(), Math.min(SHORTEST_S, total), total);
  drag.apart = spread();
  look(() => setView(drag.time - (middle() - place.keys) / rollWidth() * span, span));
}

function onUp(event) {
  const at = pointers.get(event.pointerId);
  pointers.delete(event.pointerId);
  if (!drag || pointers.size) return;
  const { kind, moved } = drag;
  drag = null;
  if (event.type === "pointercancel" || kind === "pinch" || !at) return;
  if (!moved && at.x >= left()) seek(timeAt(at.x));
  else if (kind === "select" && moved) finishSelection();
}

function look(change) {  // the view is moved by hand: it no longer follows
  if (!change()) return false;
  if (state.playing) setFollow(false);
  redraw();
  return true;
}

function onWheel(event) {
  const unit = [1, 16, rollWidth()][event.deltaMode], { x } = placeOf(event);
  const [across, down] = [event.deltaX * unit, event.deltaY * unit];
  if (event.ctrlKey || event.metaKey || event.altKey) {  // a trackpad's pinch comes as the wheel with Ctrl
    event.preventDefault();
    zoomBy(Math.exp(clamp(down, -60, 60) * 0.008), timeAt(Math.max(x, left())));
    return;
  }
  const sideways = event.shiftKey || Math.abs(across) > Math.abs(down);
  if (!sideways && !document.hasFocus()) return;  // on the way through a notebook: its page scrolls
  const by = sideways ? across || down : down;
  if (look(() => setView(view.start + by / rollWidth() * view.span))) event.preventDefault();  // at the end the page scrolls
}

function hover(at) {
  const row = at ? noteAt(at.x, at.y) : -1, key = at && at.x < left() && at.y > topOf() && at.y < place.height - place.pedal;
  const text = row >= 0 ? describeNote(state.take.notes[row]) : key ? nameOf(pitchAt(at.y)) : "";
  tip.hidden = !text;
  if (text) {
    tip.textContent = text;
    const x = clamp(at.x + 12, 0, Math.max(0, place.width - tip.offsetWidth - 2)), above = at.y - tip.offsetHeight - 10;
    tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(above > 0 ? above : at.y + 18)}px)`;
  }
  if (row !== state.hover) {
    state.hover = row;
    redraw(false);
  }
}

function onOverview(event) {
  if (event.type === "pointerdown" && event.button === 0) overview.setPointerCapture(event.pointerId);
  else if (!event.buttons) return;
  const box = overview.getBoundingClientRect();
  look(() => setView((event.clientX - box.left) / box.width * total - view.span / 2));
}

function listenToPointers() {
  roll.addEventListener("pointerdown", onDown);
  roll.addEventListener("pointermove", onMove);
  for (const kind of ["pointerup", "pointercancel"]) roll.addEventListener(kind, onUp);
  roll.addEventListener("pointerleave", () => hover(null));
  roll.addEventListener("wheel", onWheel, { passive: false });
  for (const kind of ["pointerdown", "pointermove"]) overview.addEventListener(kind, onOverview);
  let scale = 1;  // Safari has its own pinch
  roll.addEventListener("gesturestart", event => { scale = 1; event.preventDefault(); });
  roll.addEventListener("gesturechange", event => {
    event.preventDefault();
    zoomBy(scale / event.scale, timeAt(Math.max(placeOf(event).x, left())));
    scale = event.scale;
  });
}
