// The takes of one item: an <audio> each, one sounds at a time; how much of each has been heard is counted.

const byId = name => document.getElementById(name);
const test = JSON.parse(byId("test").textContent);
const urls = new Map();
let players = [];

function urlOf(take) {
  if (!urls.has(take)) {
    const [, kind, base64] = test.sounds[take].match(/^data:([^;]+);base64,(.*)$/s);
    const text = atob(base64), bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
    urls.set(take, URL.createObjectURL(new Blob([bytes], { type: kind })));
  }
  return urls.get(take);
}

function makePlayer(take, name) {
  const sound = new Audio(urlOf(take)), card = document.createElement("div");
  card.className = "take";
  card.innerHTML = `<h2></h2><button type="button" aria-pressed="false">Play</button>
    <input type="range" min="0" max="1000" value="0"><span class="heard">not yet</span>`;
  const [head, button, place, heard] = card.children, player = { take, name, sound, card, button, heardS: 0, last: 0 };
  head.textContent = name;
  button.setAttribute("aria-label", `Play ${name}`);
  place.setAttribute("aria-label", `Place in ${name}`);
  button.addEventListener("click", () => sound.paused ? start(player) : sound.pause());
  place.addEventListener("input", () => { if (sound.duration) sound.currentTime = place.value / 1000 * sound.duration; });
  sound.addEventListener("timeupdate", () => {
    const step = sound.currentTime - player.last;
    if (step > 0 && step < 1 && !sound.seeking) player.heardS += step;
    player.last = sound.currentTime;
    if (sound.duration) place.value = 1000 * sound.currentTime / sound.duration;
    if (isHeard(player)) heard.textContent = "heard";
    showMissing();
  });
  for (const event of ["play", "pause", "ended"]) sound.addEventListener(event, () => showButton(player));
  sound.addEventListener("error", () => {
    player.broken = true;  // nobody is held up by it; the answer says so
    heard.textContent = "can't be played";
    showMissing();
  });
  return player;
}

function showButton({ sound, button, name }) {
  button.textContent = sound.paused ? "Play" : "Pause";
  button.setAttribute("aria-label", `${button.textContent} ${name}`);
  button.setAttribute("aria-pressed", String(!sound.paused));
}

function start(player) {
  for (const other of players) if (other !== player) other.sound.pause();
  player.sound.play().catch(() => say("The browser wants another press on Play."));
}

// a take shorter than what must be heard is heard when nearly all of it was
const isHeard = ({ sound, heardS, broken }) => broken || heardS >= Math.min(test.mustHear, 0.8 * (sound.duration || test.mustHear));

function stopAll() {
  for (const { sound } of players) sound.pause();
}
