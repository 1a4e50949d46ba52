// Favourites: kept by the browser where the frame may store something, else as long as the page is open.

const SHELF = "player favourites";
const kept = new Set(readShelf());

function readShelf() {
  try {
    return JSON.parse(localStorage.getItem(SHELF)) ?? [];
  } catch {  // a frame without access to its storage
    return [];
  }
}

function writeShelf(take) {
  try {
    const shelf = new Set(readShelf());  // other players write there too
    if (kept.has(take.id)) shelf.add(take.id); else shelf.delete(take.id);
    localStorage.setItem(SHELF, JSON.stringify([...shelf]));
    return true;
  } catch {
    return false;
  }
}

function keep(take) {
  if (!kept.delete(take.id)) kept.add(take.id);
  const stored = writeShelf(take), word = kept.has(take.id) ? "is a favourite" : "is no longer a favourite";
  say(`${take.name} ${word}` + (stored ? "" : " until this page is closed"));
  showTake();
}
