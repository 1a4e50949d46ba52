// A player is put together when its take is opened, and taken apart, which stops it, when the take is closed.
const player = valuesOf("player");

function show(details) {
  const frame = details.querySelector("iframe");
  if (!details.open) return frame.removeAttribute("srcdoc");
  if (frame.hasAttribute("srcdoc")) return;
  const page = player.replaceAll("TITLE_OF_THIS_PLAYER", () => new Option(details.querySelector(".title").textContent).innerHTML);
  frame.srcdoc = page.replace("MUSIC_OF_THIS_PLAYER", () => byId(frame.dataset.music).textContent);
}

for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => show(details));
  show(details);
}
