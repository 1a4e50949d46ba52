// The keyboard at the left of the roll.

function drawKeyboard(pen) {
  const wide = left(), { row, low, high } = place;
  pen.fillStyle = paint.lane;
  pen.fillRect(0, 0, wide, place.height);
  pen.fillStyle = paint["white-key"];
  pen.fillRect(0, topOf(), wide - 1, (high - low + 1) * row);
  for (let pitch = low; pitch <= high; pitch++) {
    const y = yOf(pitch), black = isBlack(pitch);
    if (black) {
      pen.fillStyle = paint["black-key"];
      pen.fillRect(0, y, wide * 0.5, row);
    }
    if (pitch % 12 === 0 || pitch % 12 === 5) {  // where white keys meet: below C and F
      pen.fillStyle = "#8886";
      pen.fillRect(0, y + row - 0.5, wide - 1, 1);
    }
  }
  drawKeyNames(pen, wide);
  pen.fillStyle = paint.line;
  pen.fillRect(wide - 1, 0, 1, place.height);
}

function drawKeyNames(pen, wide) {
  pen.font = fontOf(wide < 40 ? 9 : 10);
  pen.textAlign = "right";
  pen.fillStyle = "#33373d";  // on white keys in either scheme
  for (let pitch = Math.ceil(place.low / 12) * 12; pitch <= place.high; pitch += 12)
    if (yOf(pitch) > topOf() + 2 * place.row) pen.fillText(nameOf(pitch), wide - 4, yOf(pitch) + place.row / 2);
  pen.fillStyle = paint.faint;
  if (place.pedal) pen.fillText("Ped", wide - 4, place.height - place.pedal / 2 + 0.5);
  pen.textAlign = "left";
}

function lightKeys(pen, rows) {  // on the canvas above: the keys that are down
  pen.fillStyle = paint.accent;
  for (const row of rows) {
    const pitch = state.take.notes[row][2];
    pen.fillRect(0, yOf(pitch), isBlack(pitch) ? left() * 0.5 : left() - 1, Math.max(2, place.row));
  }
  if (rows.length) drawKeyNames(pen, left());
}
