// What of the music is in view, and where on the page that is: seconds and pitches <-> pixels.

const SHORTEST_S = 0.5;  // as far as one can zoom in
const state = {
  take: music.takes[0], time: 0, rate: 1, hover: -1,  // hover: the row of a note
  playing: false, wanted: null,  // wanted: the take to play once its sound is ready
  follow: true, loop: false, selection: null,
};
const view = { start: 0, span: total };
const place = {  // lengths in CSS pixels; size: how much larger than usual
  width: 1, height: 1, scale: 1, size: 1, keys: 40, ruler: 16, chords: 0, pedal: 0, row: 1, low: range[0] - 2, high: range[1] + 2,
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");

const left = () => place.keys;
const topOf = () => place.ruler + place.chords;
const rollWidth = () => Math.max(1, place.width - place.keys);
const xOf = time => place.keys + (time - view.start) / view.span * rollWidth();
const yOf = pitch => topOf() + (place.high - pitch) * place.row;  // the upper edge
const timeAt = x => clamp(view.start + (x - place.keys) / rollWidth() * view.span, 0, total);
const pitchAt = y => place.high - Math.floor((y - topOf()) / place.row);

function measure(roll) {  // true: the size has changed
  const width = roll.clientWidth, height = roll.clientHeight, scale = window.devicePixelRatio || 1;
  if (width === place.width && height === place.height && scale === place.scale) return false;
  const size = width >= 2200 ? 1.4 : 1;
  Object.assign(place, { width, height, scale, size, keys: width < 560 ? 34 : Math.round(46 * size) });
  place.ruler = Math.round(17 * size);
  place.chords = music.takes.some(take => take.chords.length) ? Math.round(21 * size) : 0;
  place.pedal = music.takes.some(take => take.pedal.length) ? Math.round(13 * size) : 0;
  place.row = Math.max(1, (height - topOf() - place.pedal) / (place.high - place.low + 1));
  return true;
}

function setView(start, span = view.span) {  // true: it has moved
  span = clamp(span, Math.min(SHORTEST_S, total), total);
  start = clamp(start, 0, total - span);
  if (start === view.start && span === view.span) return false;
  Object.assign(view, { start, span });
  return true;
}

function zoom(factor, at = inView(state.time) ? state.time : view.start + view.span / 2) {  // the second `at` stays where it is
  const span = clamp(view.span * factor, Math.min(SHORTEST_S, total), total);
  return setView(at - (at - view.start) / view.span * span, span);
}

const inView = time => time >= view.start && time <= view.start + view.span;
const firstSpan = () => Math.min(total, Math.max(8, rollWidth() / (45 * place.size)));  // so that single notes can be told apart

function followTime() {  // where motion is not wanted the page is turned instead
  if (!calm.matches) return setView(state.time - view.span * 0.35);
  return !inView(state.time) || state.time > view.start + view.span * 0.95 ? setView(state.time - view.span * 0.1) : false;
}

function reveal(time) {
  return inView(time) ? false : setView(time - view.span * 0.2);
}

function noteAt(x, y) {  // the row of the note there, or -1; the last one drawn lies on top
  if (x < place.keys || y < topOf() || y > place.height - place.pedal) return -1;
  const { take } = state, slack = 2 / rollWidth() * view.span, time = timeAt(x), pitch = pitchAt(y);
  const [first, last] = rowsBetween(take, time - slack, time + slack);
  let best = -1, nearest = 2;  // pitches: thin rows are hard to hit
  for (let row = first; row < last; row++) {
    const away = Math.abs(take.notes[row][2] - pitch);
    if (take.end[row] < time - slack || away > (place.row < 6 ? 1 : 0) || away > nearest) continue;
    best = row;
    nearest = away;
  }
  return best;
}
