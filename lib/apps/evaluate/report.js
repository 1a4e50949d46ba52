// Players are put together when their clip is opened: the page around the music is in here once.
const player = valuesOf("player"), music = valuesOf("music");

const escaped = text => new Option(text).innerHTML;

function show(details) {
  for (const frame of details.querySelectorAll("iframe:not([srcdoc])")) {
    const page = player.replaceAll("TITLE_OF_THIS_PLAYER", () => escaped(frame.title));
    frame.srcdoc = page.replace("MUSIC_OF_THIS_PLAYER", () => music[frame.dataset.music]);
  }
}

for (const details of document.querySelectorAll("details.clip")) {
  details.addEventListener("toggle", () => details.open && show(details));
}
