// What is played: takes with their chords and bars, and how to find and name things in them. Times in seconds.

const music = valuesOf("music");
const PITCHES = ["C", "D\u266d", "D", "E\u266d", "E", "F", "G\u266d", "G", "A\u266d", "A", "B\u266d", "B"];

const isBlack = pitch => [1, 3, 6, 8, 10].includes(pitch % 12);
const nameOf = pitch => PITCHES[pitch % 12] + (Math.floor(pitch / 12) - 1);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

function prepare(take) {  // columns, and how far any note up to each one reaches: both rise, so both can be searched
  const count = take.notes.length;
  take.onset = new Float64Array(count);
  take.end = new Float64Array(count);
  take.reach = new Float64Array(count);
  take.chordTimes = take.chords.map(([time]) => time);
  take.barTimes = take.bars.map(([time]) => time);
  let reach = 0;
  take.notes.forEach(([onset, length], row) => {
    take.onset[row] = onset;
    take.end[row] = onset + length;
    take.reach[row] = reach = Math.max(reach, onset + length);
  });
}

music.takes.forEach(prepare);
const total = music.takes.reduce((longest, take) => Math.max(longest, take.seconds), 1);
const range = music.takes.flatMap(take => take.notes).reduce(
  ([low, high], [, , pitch]) => [Math.min(low, pitch), Math.max(high, pitch)], [53, 72]);

function firstAbove(sorted, value) {  // the first row whose number is greater
  let low = 0, high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > value) high = middle; else low = middle + 1;
  }
  return low;
}

const rowsBetween = (take, from, to) => [firstAbove(take.reach, from), firstAbove(take.onset, to)];

function soundingAt(take, time) {  // rows
  const rows = [], [first, last] = rowsBetween(take, time, time);
  for (let row = first; row < last; row++) if (take.end[row] > time) rows.push(row);
  return rows;
}

const chordRowAt = time => firstAbove(state.take.chordTimes, time) - 1;
const chordAt = time => state.take.chords[chordRowAt(time)]?.[1] ?? "";
const barAt = time => state.take.bars[firstAbove(state.take.barTimes, time + 1e-6) - 1]?.[1] ?? 0;  // 0: not in a known bar

function clockOf(seconds, digits = 0) {
  const whole = Math.floor(seconds / 60), rest = seconds - whole * 60;
  return whole + ":" + (digits ? rest.toFixed(digits).padStart(3 + digits, "0") : String(Math.floor(rest)).padStart(2, "0"));
}

function describeNote([onset, length, pitch, velocity]) {
  return `${nameOf(pitch)}  velocity ${velocity}  at ${clockOf(onset, 2)}, ${length.toFixed(2)} s long`;
}

function describeMusic() {  // for those who do not see the roll
  const takes = music.takes.map(take => {
    const pitches = take.notes.map(note => note[2]).sort((a, b) => a - b);
    const span = pitches.length ? ` from ${nameOf(pitches[0])} to ${nameOf(pitches.at(-1))}` : "";
    return `${take.name}: ${take.notes.length} notes${span}, ${Math.round(take.seconds)} seconds` + (take.pedal.length ? ", with pedal" : "");
  });
  const chords = music.takes[0].chords.slice(0, 32).map(([, symbol]) => symbol).join(" ");
  return takes.join(". ") + (chords ? `. Chords: ${chords}` : "");
}
