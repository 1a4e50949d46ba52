// Drawing what changes with the view only: notes, pedal, chords, ruler. What moves with time lies on a canvas above.

const still = byId("still");
// viridis, which the colour-blind can read: dark is loud on paper, bright is loud in the dark
const VIRIDIS = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = {};
let loudness = [];  // a colour for each velocity
const family = getComputedStyle(document.body).fontFamily;

function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "lane", "black-row", "ink", "faint", "line", "accent", "chosen", "chosen-wash", "pedal", "white-key", "black-key"])
    paint[name] = style.getPropertyValue("--" + name).trim();
  const [soft, loud] = dark.matches ? [0.4, 1] : [0.62, 0];  // the softest still stands out 3 : 1
  loudness = Array.from({ length: 128 }, (_, velocity) => viridis(soft + (loud - soft) * clamp((velocity - 20) / 90, 0, 1)));
  byId("legend").style.background = `linear-gradient(90deg, ${loudness.filter((_, v) => v % 8 === 0).join(", ")})`;
  forgetOverview();
}

function viridis(part) {
  const at = part * (VIRIDIS.length - 1), low = Math.min(VIRIDIS.length - 2, Math.floor(at)), rest = at - low;
  const [a, b] = [VIRIDIS[low], VIRIDIS[low + 1]].map(hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16)));
  return "#" + a.map((x, i) => Math.round(x + (b[i] - x) * rest).toString(16).padStart(2, "0")).join("");
}

const fontOf = (px, weight = 400) => `${weight} ${px * place.size}px ${family}`;

function penOf(canvas, width, height) {  // cleared, in CSS pixels
  const { scale } = place, wide = Math.round(width * scale), high = Math.round(height * scale), pen = canvas.getContext("2d");
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = fontOf(11);
  pen.textBaseline = "middle";
  return pen;
}

function line(pen, x0, y0, x1, y1) { pen.beginPath(); pen.moveTo(x0, y0); pen.lineTo(x1, y1); pen.stroke(); }

function drawStill() {
  const pen = penOf(still, place.width, place.height);
  drawGrid(pen);
  drawNotes(pen);
  drawPedal(pen);
  drawRuler(pen);
  drawChords(pen);
  drawKeyboard(pen);
}

function drawGrid(pen) {
  pen.fillStyle = paint.paper;
  pen.fillRect(0, 0, place.width, place.height);
  pen.fillStyle = paint["black-row"];
  for (let pitch = place.low; pitch <= place.high; pitch++)
    if (isBlack(pitch)) pen.fillRect(left(), yOf(pitch), place.width, place.row);
  pen.strokeStyle = paint.line;
  pen.lineWidth = 1;
  for (let pitch = Math.ceil(place.low / 12) * 12; pitch <= place.high; pitch += 12)
    line(pen, left(), Math.round(yOf(pitch - 1)) + 0.5, place.width, Math.round(yOf(pitch - 1)) + 0.5);
  for (const time of gridTimes()) {
    pen.globalAlpha = state.take.bars.length && !barAt(time) ? 0.5 : 1;  // the beats of unknown bars
    line(pen, Math.round(xOf(time)) + 0.5, topOf(), Math.round(xOf(time)) + 0.5, place.height);
  }
  pen.globalAlpha = 1;
}

function gridTimes() {  // bars, with beats where bars are unknown; or where chords change, or seconds: until lines stand apart
  const { barTimes, chordTimes } = state.take, times = [barTimes, chordTimes].find(rows => rows.length) ?? secondTicks();
  const inSight = times.slice(firstAbove(times, view.start - 1e-9), firstAbove(times, view.start + view.span)), most = rollWidth() / 14;
  const shown = times === barTimes && inSight.length > most ? inSight.filter(barAt) : inSight;
  const apart = Math.ceil(shown.length / most);
  return apart > 1 ? shown.filter((time, row) => row % apart === 0) : shown;
}

function secondTicks() {
  const wanted = view.span / rollWidth() * 80 * place.size;
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600].find(s => s >= wanted) ?? 1800;
  const ticks = [];
  for (let k = Math.ceil(view.start / step); k * step <= view.start + view.span; k++) ticks.push(Math.round(k * step * 10) / 10);
  return ticks;
}

function drawNotes(pen) {
  const { take } = state, from = view.start, to = view.start + view.span;
  const [first, last] = rowsBetween(take, from, to);
  const gap = place.row > 4 ? 1 : 0, high = Math.max(1.5, place.row - gap);
  for (let row = first; row < last; row++) {
    if (take.end[row] < from) continue;
    const [onset, , pitch, velocity] = take.notes[row], x = xOf(onset);
    pen.fillStyle = loudness[velocity];
    pen.fillRect(x, yOf(pitch) + gap / 2, Math.max(1.5, xOf(take.end[row]) - x - 0.6), high);
  }
}

function drawPedal(pen) {
  if (!place.pedal) return;
  const top = place.height - place.pedal;
  pen.fillStyle = paint.lane;
  pen.fillRect(0, top, place.width, place.pedal);
  pen.fillStyle = paint.pedal;
  for (const [down, up] of state.take.pedal) {
    if (up < view.start || down > view.start + view.span) continue;
    pen.fillRect(xOf(down), top + 3, Math.max(1, xOf(up) - xOf(down) - 1), place.pedal - 6);
  }
}

function drawRuler(pen) {
  pen.fillStyle = paint.lane;
  pen.fillRect(0, 0, place.width, place.ruler);
  pen.fillStyle = paint.faint;
  pen.strokeStyle = paint.faint;
  const labels = state.take.bars.some(([, number]) => number) ? gridTimes().filter(barAt).map(time => [time, String(barAt(time))])
    : secondTicks().map(time => [time, clockOf(time, view.span < 4 ? 1 : 0)]);
  let free = left();
  for (const [time, text] of labels) {
    const x = xOf(time);
    line(pen, Math.round(x) + 0.5, place.ruler - 4, Math.round(x) + 0.5, place.ruler);
    if (x < free) continue;
    pen.fillText(text, x + 3, place.ruler / 2 + 1);
    free = x + pen.measureText(text).width + 12;
  }
}

function drawChords(pen) {
  if (!place.chords) return;
  const end = view.start + view.span, first = Math.max(0, chordRowAt(view.start));
  pen.fillStyle = paint.paper;
  pen.fillRect(0, place.ruler, place.width, place.chords);
  pen.fillStyle = paint.ink;
  pen.strokeStyle = paint.line;
  pen.font = fontOf(12, 600);
  let free = left();
  const { chords } = state.take;
  for (let row = first; row < chords.length && chords[row][0] <= end; row++) {
    const [time, symbol] = chords[row], wide = pen.measureText(symbol).width;
    const next = row + 1 < chords.length ? xOf(chords[row + 1][0]) : Infinity;
    // the chord that began before the view keeps its name at the view's edge while there is room
    const x = Math.max(xOf(time), left()) + 4;
    if (x < free || (xOf(time) < left() && x + wide > next)) continue;
    pen.fillText(symbol, x, place.ruler + place.chords / 2 + 1);
    line(pen, Math.round(x - 4) + 0.5, place.ruler, Math.round(x - 4) + 0.5, topOf());
    free = x + wide + 6;
  }
}
