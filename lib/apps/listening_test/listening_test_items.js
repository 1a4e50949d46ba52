// One item: two takes and a choice, or several takes and a scale each.

const WORDS = ["bad", "poor", "fair", "good", "excellent"];
const NEITHER = "neither";

function showItem(item) {
  byId("practice").hidden = !item.practice;
  byId("question").textContent = questionOf(item);
  const reference = item.reference ? [Object.assign(makePlayer(item.reference, "Reference"), { open: true })] : [];
  players = [...reference, ...item.takes.map((take, row) => makePlayer(take, String.fromCharCode(65 + row)))];
  byId("takes").replaceChildren(...players.map(player => player.card));
  byId("choice").hidden = item.kind !== "ab";
  byId("choice").replaceChildren(byId("choice").querySelector("legend"));
  if (item.kind === "ab") players.forEach(player => addChoice(player.name, player.take));
  if (item.kind === "ab") addChoice("No difference", NEITHER);
  else players.filter(player => !player.open).forEach(addScale);
}

function questionOf(item) {
  if (item.kind === "ab") return `Which of the two is better as ${test.question}?`;
  const hidden = item.reference ? " One of them is the reference itself." : "";
  return `How good is each as ${test.question}, from 0 to 100?${hidden}`;
}

function addChoice(name, value) {
  const label = document.createElement("label"), radio = document.createElement("input");
  Object.assign(radio, { type: "radio", name: "choice", value });
  radio.addEventListener("change", showMissing);
  label.append(radio, name);
  byId("choice").append(label);
}

function addScale(player) {
  const score = document.createElement("div"), id = `score ${player.name}`;
  score.className = "score unrated";
  score.innerHTML = `<label><span></span><output>not rated</output></label><input type="range" min="0" max="100" value="50">
    <div class="words" aria-hidden="true">${WORDS.map(word => `<span>${word}</span>`).join("")}</div>`;
  const [label, scale] = score.children;
  scale.id = label.htmlFor = id;
  label.querySelector("span").textContent = `How good is ${player.name}?`;
  const rate = () => {
    player.score = Number(scale.value);
    scale.setAttribute("aria-valuetext", `${scale.value}, ${wordOf(player.score)}`);
    label.querySelector("output").textContent = `${scale.value}: ${wordOf(player.score)}`;
    score.classList.remove("unrated");
    showMissing();
  };
  for (const event of ["input", "change", "click"]) scale.addEventListener(event, rate);  // a click may leave it where it is
  player.card.append(score);
}

const wordOf = score => WORDS[Math.min(4, Math.floor(score / 20))];

function chosen() {
  return byId("choice").querySelector("input:checked")?.value;
}

function missing() {  // what is still to do before Next, in words
  const unheard = players.filter(player => !isHeard(player)).map(player => player.name);
  if (unheard.length) return `Still to hear: ${unheard.join(", ")}.`;
  if (order[state.at].kind === "ab") return chosen() ? "" : "Which one?";
  const unrated = players.filter(player => !player.open && player.score === undefined).map(player => player.name);
  return unrated.length ? `Still to rate: ${unrated.join(", ")}.` : "";
}

function answerOf(item) {
  const rounded = value => Math.round(10 * value) / 10;
  const heard = Object.fromEntries(players.filter(player => !player.open).map(player => [player.take, rounded(player.heardS)]));
  const broken = players.filter(player => player.broken).map(player => player.take);
  const answer = { item: item.id, kind: item.kind, shown: item.takes, heard_s: heard, broken,
                   seconds: rounded((performance.now() - shownAt) / 1000) };
  if (item.kind === "ab") return { ...answer, choice: chosen() };
  return { ...answer, scores: Object.fromEntries(players.filter(player => !player.open).map(player => [player.take, player.score])) };
}

byId("minutes").textContent = (minutes => minutes < 2 ? "a minute or two" : `${minutes} minutes`)(
  Math.ceil(order.reduce((sum, item) => sum + 20 * item.takes.length + 10, 0) / 60));
show();
