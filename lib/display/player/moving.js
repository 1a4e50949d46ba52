// Drawing what moves: the notes that sound, the playhead, the selection, the frame of the overview. One frame draws all.

const moving = byId("moving"), overview = byId("overview");
let small = null;  // the overview's notes, drawn once
let asked = 0, stale = true;  // a frame is asked for; the still canvas is out of date

function forgetOverview() { small = null; }

function redraw(all = true) {  // all: the view has changed too
  stale ||= all;
  asked ||= requestAnimationFrame(frame);
}

function frame() {
  asked = 0;
  if (state.playing) {
    advance();
    if (state.follow && followTime()) stale = true;
  }
  if (stale) drawStill();
  stale = false;
  drawMoving();
  drawOverview();
  tell();
  if (state.playing) redraw(false);
}

function drawMoving() {
  const pen = penOf(moving, place.width, place.height), rows = soundingAt(state.take, state.time);
  lightKeys(pen, rows);
  pen.save();
  pen.beginPath();
  pen.rect(left(), 0, rollWidth(), place.height);
  pen.clip();
  drawSelection(pen);
  pen.fillStyle = paint.accent;
  for (const row of rows) drawNote(pen, row);
  drawHover(pen);
  drawNow(pen);
  pen.restore();
}

function drawNote(pen, row) {
  const [onset, , pitch] = state.take.notes[row], x = xOf(onset);
  pen.fillRect(x, yOf(pitch), Math.max(2, xOf(state.take.end[row]) - x - 0.6), Math.max(2, place.row));
}

function drawHover(pen) {
  if (state.hover < 0) return;
  const [onset, , pitch] = state.take.notes[state.hover], x = xOf(onset), wide = Math.max(2, xOf(state.take.end[state.hover]) - x);
  pen.strokeStyle = paint.ink;
  pen.lineWidth = 1.5;
  pen.strokeRect(x - 1.5, yOf(pitch) - 1.5, wide + 3, place.row + 3);
}

function drawSelection(pen) {
  if (!state.selection) return;
  const [from, to] = state.selection.map(xOf);
  pen.fillStyle = paint["chosen-wash"];
  pen.fillRect(from, 0, to - from, place.height);
  pen.fillStyle = paint.chosen;
  for (const x of [from - 1, to - 1]) pen.fillRect(x, 0, 2, place.height);
  if (state.loop) pen.fillRect(from, 0, to - from, 3);
}

function drawNow(pen) {
  const x = xOf(state.time), chord = chordRowAt(state.time);
  pen.fillStyle = paint.accent;
  if (place.chords && chord >= 0) {  // the chord that sounds is underlined
    const { chordTimes } = state.take, end = chordTimes[chord + 1] ?? total;
    pen.fillRect(xOf(chordTimes[chord]) + 1, topOf() - 3, xOf(end) - xOf(chordTimes[chord]) - 2, 2);
  }
  pen.fillRect(x - 1, 0, 2, place.height);
  pen.beginPath();
  pen.moveTo(x - 5, 0);
  pen.lineTo(x + 5, 0);
  pen.lineTo(x, 7);
  pen.fill();
}

function drawOverview() {
  const width = overview.clientWidth, height = overview.clientHeight, pen = penOf(overview, width, height);
  if (overview.width === 0 || overview.height === 0) return;  // a frame that is folded away
  const x = time => time / total * width;
  if (small?.take !== state.take || small.width !== overview.width)
    small = { take: state.take, width: overview.width, image: drawSmall(x, width, height) };
  pen.drawImage(small.image, 0, 0, width, height);
  if (state.selection) {
    pen.fillStyle = paint["chosen-wash"];
    pen.fillRect(x(state.selection[0]), 0, x(state.selection[1]) - x(state.selection[0]), height);
  }
  pen.strokeStyle = paint.chosen;
  pen.lineWidth = 2;
  pen.strokeRect(x(view.start) + 1, 1, Math.max(6, x(view.span) - 2), height - 2);
  pen.fillStyle = paint.accent;
  pen.fillRect(x(state.time) - 1, 0, 2, height);
}

function drawSmall(x, width, height) {
  const image = document.createElement("canvas"), pen = penOf(image, width, height), row = (height - 4) / (place.high - place.low);
  pen.fillStyle = paint.lane;
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = paint.faint;
  for (const [onset, length, pitch] of state.take.notes)
    pen.fillRect(x(onset), 2 + (place.high - pitch) * row, Math.max(1, x(length)), Math.max(1, row));
  return image;
}
