// Playing: an <audio> element for each take, so that another take is ready at once at the same place.

const SPEEDS = [0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1, 1.1, 1.25, 1.5, 2];
const LONGEST_GUESS_S = 0.1;  // some browsers move currentTime in steps: between them the clock goes on by itself
const LONGEST_DECODED_S = 900;  // 10 MB a minute; a longer recital is played as it comes
// Chromium's time stretching is heard so much before its clock says, by speed (measured: tests/benchmarks/listen.py)
const AHEAD_S = /Chrom(e|ium)\//.test(navigator.userAgent)
  ? [[0.25, 0.044], [0.5, 0.035], [0.75, 0.026], [0.9, 0.013], [1, 0], [1.25, -0.002], [1.5, -0.005], [2, -0.014]] : [[1, 0]];
const sounds = new Map();
const reading = { time: -1, stamp: 0 };

const others = openChannel();  // a notebook holds many players: one plays at a time

function openChannel() {
  try {
    const channel = new BroadcastChannel("player");
    channel.onmessage = () => stopSound();
    return channel;
  } catch {  // a frame that may not talk to others
    return null;
  }
}

const hasSound = () => state.take.sound !== "" && !state.take.broken;

function soundOf(take) {
  if (!take.sound) return null;
  if (!sounds.has(take)) sounds.set(take, makeSound(take));
  return sounds.get(take);
}

function makeSound(take) {
  const sound = new Audio(), alive = () => take === state.take;
  sound.preload = "auto";
  sound.addEventListener("error", () => {
    if (sound.src.startsWith("blob:")) sound.src = take.sound;  // some frames forbid blobs, others data
    else breakSound(take);
  });
  sound.addEventListener("ended", () => alive() && end());
  sound.addEventListener("pause", () => alive() && sound.paused && !sound.ended && stopSound());  // by a headset's button, say
  sound.addEventListener("timeupdate", () => alive() && state.playing && advance());  // frames stop in a hidden tab
  document.body.append(sound);
  exactly(take).then(blob => {
    sound.src = URL.createObjectURL(blob);
    take.ready = true;
    if (state.wanted === take) startSound();
  });
  return sound;
}

// Browsers seek in an MP3 to a frame of it, 26 ms, and some forget the decoder's delay: what is played is decoded first
async function exactly(take) {
  const compressed = blobOf(take.sound);
  if (take.seconds > LONGEST_DECODED_S) return compressed;
  return wavOf(take).catch(() => compressed);
}

function breakSound(take) {
  take.broken = true;
  take.remark = "This browser can't play the sound of this take.";
  stopSound();
  showTake();
}

function startSound() {
  const sound = soundOf(state.take);
  if (!hasSound()) return;
  state.wanted = state.take.ready ? null : state.take;
  if (state.wanted) return showPlaying();
  if (state.time >= state.take.seconds - 0.05) moveTo(state.selection && state.loop ? state.selection[0] : 0);
  tune(sound);
  if (Math.abs(sound.currentTime - state.time) > 0.02) sound.currentTime = state.time;
  reading.time = -1;
  state.playing = true;
  others?.postMessage("plays");
  sound.play().catch(error => {
    if (error.name === "AbortError") return;  // another take or place was asked for meanwhile
    stopSound();
    say(error.name === "NotAllowedError" ? "The browser wants a click on Play before it plays." : "The sound can't be played.");
  });
  showPlaying();
  redraw(false);
}

function stopSound() {
  state.wanted = null;
  if (!state.playing) return showPlaying();
  advance();
  state.playing = false;
  soundOf(state.take)?.pause();
  showPlaying();
  redraw(false);
}

function end() {
  if (state.loop) {
    moveTo(state.selection ? state.selection[0] : 0);
    soundOf(state.take).play().catch(() => stopSound());
    return;
  }
  state.time = state.take.seconds;
  state.playing = false;
  showPlaying();
  redraw(false);
}

function tune(sound) {  // slower or faster at the same pitch
  sound.preservesPitch = sound.webkitPreservesPitch = sound.mozPreservesPitch = true;
  sound.playbackRate = sound.defaultPlaybackRate = state.rate;
}

function soundTime() {
  const sound = soundOf(state.take), now = performance.now(), time = sound.currentTime;
  if (time !== reading.time) Object.assign(reading, { time, stamp: now });
  const guess = sound.seeking || sound.paused ? 0 : Math.min(LONGEST_GUESS_S, (now - reading.stamp) / 1000 * state.rate);
  return time + guess + aheadAt(state.rate);
}

function aheadAt(rate) {  // between two measured speeds in proportion
  const next = Math.max(0, AHEAD_S.findIndex(([speed]) => speed >= rate)), [speed, ahead] = AHEAD_S[next];
  const [before, less] = AHEAD_S[Math.max(0, next - 1)];
  return speed === before ? ahead : less + (ahead - less) * (rate - before) / (speed - before);
}

function advance() {
  const before = state.time;
  state.time = Math.min(soundTime(), total);
  const [from, to] = state.selection ?? [0, Infinity];
  if (state.loop && before < to && state.time >= to) moveTo(from);
}

function moveTo(time) {
  state.time = clamp(time, 0, total);
  const sound = hasSound() && soundOf(state.take);
  if (sound) sound.currentTime = Math.min(state.time, state.take.seconds);
  reading.time = -1;
  redraw(reveal(state.time));
}

function setSpeed(rate) {
  if (state.playing) advance();
  state.rate = rate;
  for (const sound of sounds.values()) tune(sound);
}

function choose(take) {  // the same place of another take, going on if it plays
  if (take === state.take) return;
  const goesOn = state.playing || state.wanted;
  stopSound();
  state.take = take;
  state.hover = -1;
  moveTo(Math.min(state.time, take.seconds));
  fillSpeeds();
  showTake();
  redraw();
  if (goesOn) startSound();
  say(`${take.name}, ${clockOf(state.time, 1)}`);
}
