const LINE = 8;          // photos that are held, shown one at a time; in a grid, two pages
const LOADING = 3;       // photos that are fetched at a time
const MOST = 200;        // answers in a message
const PAST = 60;         // answers, or pages of a grid, that can be taken back
const EDGE = { one: 1600, grid: 480, close: 3200 };
const VERDICT = 4;       // seconds for which the model's view of an answered photo is shown
const BEAT = 60;         // seconds between messages while somebody is there
const IDLE = 300;        // seconds without a key or a touch after which nobody is
const WAIT = 8;          // seconds between questions for more, where there is none
const PATIENCE = 20;     // seconds for an answer of the server
const TRIES = 3;         // at a photo that the server fails to send
const SWIPE = 70;        // pixels
const KEYS = {
  y: "yes", ArrowRight: "yes", n: "no", ArrowLeft: "no", u: "unsure", ArrowDown: "unsure", s: "skip", ArrowUp: "skip",
};
const NEXT = { no: "yes", yes: "unsure", unsure: "no" };

const element = (id) => document.getElementById(id);
const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const phone = matchMedia("(max-width: 40rem)");

// What outlives the page. A browser that keeps nothing, or has no room left, keeps it as long as the page.
function shelf(open) {
  const spare = new Map();
  let real = null;
  try { real = open(); } catch { }
  return {
    get: (name) => spare.get(name) ?? real?.getItem(name) ?? null,
    set(name, value) { try { real.setItem(name, value); } catch { spare.set(name, value); } },
    remove(name) { spare.delete(name); real?.removeItem(name); },
    names: (start) => [...Object.keys(real ?? {}), ...spare.keys()].filter((name) => name.startsWith(start)).sort(),
  };
}
const kept = shelf(() => localStorage);
const session = shelf(() => sessionStorage);

let key = "";
let queue = null;            // the answer of /api/queue
let me = "";
let line = [];               // what is to be answered, the first one first
let page = [];               // of it, what the grid shows
let past = [];               // [{ grid, given: [{ id, ask, answer }] }], the latest last
let state = null;            // progress and annotators, as of the last message
let mode = kept.get("label:mode") === "grid" ? "grid" : "one";
let away = "";               // why no message gets through
let syncing = false, again = false;
let sending = new Set();     // ids of answers that are on their way
let timer = 0, delay = 1;
let touched = Date.now();
let close = false;           // whether the photo is looked at closely
let counter = 0;
const marks = new Map();     // what tiles of the grid say, where not "no"
const tiles = new Map();     // their elements
const photos = new Map();    // "1600/sha256" -> { image, error }
const dropped = new Set();   // photos that cannot be shown and were passed
const times = [];            // of this page's answers
const failures = new Map();  // of photos, by name

const base = (name = me) => `label:${queue.queue}:${name}:`;

// Answers that the server has not got yet, of everybody who gave some for this queue in this browser: each under a name
// of its own, so that two tabs do not overwrite each other.
const OUT = ":out:";
const nameOf = (place) => place.slice(base("").length - 1, place.lastIndexOf(OUT));
const outbox = () => kept.names(`label:${queue.queue}:`).filter((place) => place.includes(OUT))
  .map((place) => ({ name: nameOf(place), ...JSON.parse(kept.get(place) ?? "{}") })).filter(({ id }) => id);
const mine = () => outbox().filter(({ name }) => name === me);
const earlier = () => kept.names("label:")
  .filter((place) => place.includes(OUT) && !place.startsWith(`label:${queue.queue}:`)).length;

function post(sha256, answer) {
  const order = `${Date.now().toString(36).padStart(9, "0")}-${(counter++).toString(36).padStart(4, "0")}`;
  const id = `${order}-${Math.random().toString(36).slice(2, 10)}`;
  kept.set(`${base()}out:${id}`, JSON.stringify({ id, sha256, answer }));
  return id;
}

function remember() {
  past = past.slice(-PAST);
  kept.set(`${base()}past`, JSON.stringify(past));
}

async function call(path, content) {
  const headers = { ...(key && { Authorization: `Bearer ${key}` }), ...(content && { "Content-Type": "application/json" }) };
  const options = content && { method: "POST", body: JSON.stringify(content) };
  const answer = await fetch(path, { ...options, headers, signal: AbortSignal.timeout(1000 * PATIENCE) });
  if (answer.ok) return answer;
  const text = (await answer.json().catch(() => ({}))).error;
  throw Object.assign(new Error(text ?? `the server answered ${answer.status}`), { status: answer.status });
}

// Beginning: the key, the queue, a name.

async function begin() {
  clearTimeout(timer);
  try {
    queue = await (await call("/api/queue")).json();
  } catch (error) {
    return failed(error, begin);
  }
  away = "";
  delay = 1;
  document.title = element("class").textContent = queue.class;
  element("help-title").textContent = queue.class;
  element("guide").textContent = queue.guide;
  element("guide").hidden = !queue.guide;
  element("names").replaceChildren(...queue.annotators.map((name) => new Option(name)));
  element("door").hidden = true;
  me = kept.get("label:name") ?? "";
  if (me) enter();
  else greet();
}

function greet() {
  element("who").hidden = false;
  element("name").focus();
  sync();   // of whoever was here before
  tell();
}

function enter() {
  element("who").hidden = true;
  element("me").textContent = `You are ${me}.`;
  past = JSON.parse(kept.get(`${base()}past`) ?? "[]");
  line = page = [];
  state = null;
  sync(true);
}

// Messages: answers go, photos to ask about come.

const want = () => (mode === "one" ? LINE : 2 * size());

// What a name's answers go with: mine also with what I hold and want; who is gone gives his photos back.
function message(name) {
  const given = outbox().filter((one) => one.name === name).slice(0, MOST);
  const answers = given.map(({ id, sha256, answer }) => ({ id, sha256, answer }));
  const hand = name === me && { holds: line.slice(0, 100).map(({ sha256 }) => sha256), want: want() };
  return { queue: queue.queue, annotator: name, answers, ...hand };
}

// Sends a name's answers; returns what the server says.
async function send(name) {
  const content = message(name);
  sending = new Set(content.answers.map(({ id }) => id));
  tell();
  const answer = await (await call("/api/turn", content)).json();
  for (const id of sending) kept.remove(`${base(name)}out:${id}`);
  if (me) state = answer;
  return answer;
}

const others = () => new Set(outbox().map(({ name }) => name).filter((name) => name !== me));

async function sync(strict = false) {
  if (!queue || !(me || outbox().length)) return;
  if (syncing) {
    again = true;
    return;
  }
  clearTimeout(timer);
  syncing = true;
  again = false;
  try {
    const name = me;
    const { asks } = name ? await send(name) : { asks: [] };
    if (name && name === me) take(asks, strict || Date.now() - touched > 1000 * BEAT);   // else he was renamed meanwhile
    for (const other of others()) await send(other);
    away = "";
    delay = 1;
  } catch (error) {
    failed(error, sync);
  }
  syncing = false;
  sending = new Set();
  if (!away && ((again && me) || outbox().length)) return sync();
  if (!away) timer = setTimeout(beat, 1000 * (line.length ? BEAT : WAIT));
  show();
}

function beat() {
  const there = !line.length || Date.now() - touched < 1000 * IDLE;
  if (there && document.visibilityState === "visible") sync();
}

function failed(error, retry) {
  if (error.status === 401) {
    element("wrong").hidden = !key;
    element("who").hidden = true;
    element("door").hidden = false;
    element("key").focus();
    me = "";
  } else if (error.status === 409) {
    me = "";
    location.reload();   // what was answered for the other queue stays here, under its name
  } else if (error.status === 400 && error.message.startsWith("annotator")) {
    rename();
  } else {
    away = error.status ? error.message : "no connection";
    timer = setTimeout(retry, 1000 * delay);
    delay = Math.min(2 * delay, 15);
  }
  show();
}

// What the server deals is what is asked, but nothing changes under the eyes of somebody who is there.
function take(asks, strict) {
  const waiting = new Map(mine().map(({ sha256, answer }) => [sha256, answer]));
  const offered = asks.filter(({ sha256 }) => !waiting.has(sha256) && !dropped.has(sha256));
  const names = new Set(offered.map(({ sha256 }) => sha256));
  const seen = new Set((strict ? [] : mode === "one" ? line.slice(0, 1) : page).map(({ sha256 }) => sha256));
  line = line.filter(({ sha256 }) => names.has(sha256) || seen.has(sha256) || waiting.get(sha256) === "undo");
  const here = new Set(line.map(({ sha256 }) => sha256));
  line.push(...offered.filter(({ sha256 }) => !here.has(sha256)));
  if (strict) page = page.filter((ask) => line.some(({ sha256 }) => sha256 === ask.sha256));
}

// Answers.

const photoOf = (ask, edge = EDGE[mode]) => photos.get(`${edge}/${ask.sha256}`);

function answer(answer) {
  const ask = line[0];
  const photo = ask && photoOf(ask);
  if (photo?.error) return pass([ask]);
  if (photo?.image) record([[ask, answer]]);   // nobody answers what he has not seen
}

function submit() {
  const ready = page.filter((ask) => photoOf(ask)?.image);
  pass(page.filter((ask) => photoOf(ask)?.error));
  if (ready.length) record(ready.map((ask) => [ask, marks.get(ask.sha256) ?? "no"]));
}

// Photos that cannot be shown are left behind: the server knows of them. What only cannot be read now is skipped.
function pass(asks) {
  if (!asks.length) return;
  for (const { sha256 } of asks) {
    const name = `${EDGE[mode]}/${sha256}`;
    if (photos.get(name).gone) dropped.add(sha256);
    else {
      post(sha256, "skip");   // it is asked again at the end
      photos.delete(name);
      failures.delete(name);
    }
  }
  const passed = new Set(asks.map(({ sha256 }) => sha256));
  [line, page] = [line, page].map((all) => all.filter(({ sha256 }) => !passed.has(sha256)));
  show();
  sync();
}

function record(pairs) {
  past.push({ grid: mode === "grid", given: pairs.map(([ask, answer]) => ({ id: post(ask.sha256, answer), ask, answer })) });
  remember();
  for (const _ of pairs) times.push(Date.now());
  const answered = new Set(pairs.map(([{ sha256 }]) => sha256));
  line = line.filter(({ sha256 }) => !answered.has(sha256));
  page = page.filter(({ sha256 }) => !answered.has(sha256));
  for (const sha256 of answered) marks.delete(sha256);
  closeLook(false);
  say(past.at(-1));
  show();
  sync();
}

function undo() {
  const last = past.pop();
  if (!last) return say(null, "There is nothing to take back.");
  remember();
  times.splice(-last.given.length);
  const asks = last.given.map(({ ask }) => ask);
  const back = new Set(asks.map(({ sha256 }) => sha256));
  for (const { id, ask, answer } of last.given) {
    const name = `${base()}out:${id}`;
    if (kept.get(name) && !sending.has(id)) kept.remove(name);   // it never left
    else post(ask.sha256, "undo");
    if (last.grid && answer !== "no") marks.set(ask.sha256, answer);
    dropped.delete(ask.sha256);
  }
  line = [...asks, ...line.filter(({ sha256 }) => !back.has(sha256))];
  if (last.grid !== (mode === "grid")) change();
  page = last.grid ? asks : [];
  closeLook(false);
  say(null, asks.length === 1 ? "Taken back: here it is again." : `Taken back: these ${asks.length} are here again.`);
  show();
  sync();
}

// What the model thinks: nowhere on the page until a photo is answered.

const opinion = ({ score }) => (score === null ? null : score >= 0.5 ? "yes" : "no");

function verdictOf({ ask, answer }) {
  const said = answer === "skip" ? "Skipped" : `You: ${answer}`;
  if (ask.score === null) return [said, `No head has scored it. Asked because: ${ask.reason}.`];
  const agrees = !["yes", "no"].includes(answer) ? `it would say ${opinion(ask)}`
    : opinion(ask) === answer ? "it agrees" : "it disagrees";
  const score = ask.score.toFixed(ask.score > 0.995 || ask.score < 0.005 ? 4 : 2);
  return [said, `${ask.head ?? "The model"} gives ${score}: ${agrees}. Asked because: ${ask.reason}.`];
}

function verdictOfPage({ given }) {
  const counts = ["yes", "no", "unsure"].map((vote) => [given.filter(({ answer }) => answer === vote).length, vote]);
  const told = counts.filter(([count]) => count).map(([count, vote]) => `${count} ${vote}`).join(", ");
  const apart = given.filter(({ ask, answer }) => answer !== "unsure" && opinion(ask) && opinion(ask) !== answer);
  return [`You: ${told}`, `The model disagrees on ${apart.length} of ${given.length}.`];
}

let hiding = 0;
function say(entry, text = "", pinned = false) {
  const verdict = element("verdict");
  const [head, rest] = text ? ["", text] : entry.grid ? verdictOfPage(entry) : verdictOf(entry.given[0]);
  const title = document.createElement("b");
  title.textContent = head && `${head}. `;
  verdict.replaceChildren(title, rest);
  verdict.title = entry && !entry.grid ? entry.given[0].ask.file : "";
  verdict.dataset.answer = entry && !entry.grid ? entry.given[0].answer : "";
  verdict.dataset.pinned = pinned;
  element("strip").classList.add("told");
  clearTimeout(hiding);
  if (!pinned) hiding = setTimeout(hush, 1000 * VERDICT);
}

function hush() {
  element("strip").classList.remove("told");
  element("verdict").dataset.pinned = false;
}

function look() {
  if (element("verdict").dataset.pinned === "true") hush();
  else if (past.length) say(past.at(-1), "", true);
}

// Photos.

function fill() {
  const asks = mode === "grid" ? [...page, ...line] : line;
  const wanted = [...new Set(asks.slice(0, want()).map(({ sha256 }) => `${EDGE[mode]}/${sha256}`))];
  const last = past.slice(-2).flatMap(({ given }) => given.map(({ ask }) => ask.sha256));
  const needed = new Set([...asks.map(({ sha256 }) => sha256), ...last]);
  for (const [name, photo] of photos) {
    if (needed.has(name.split("/")[1]) || photo.loading) continue;
    if (photo.image) URL.revokeObjectURL(photo.image.src);
    photos.delete(name);
  }
  for (const name of wanted) {
    if ([...photos.values()].filter(({ loading }) => loading).length >= LOADING) break;
    if (!photos.has(name)) load(name);
  }
}

async function load(name) {
  const photo = { loading: true };
  photos.set(name, photo);
  try {
    const data = await (await call(`/photos/${name}`)).blob();
    const image = new Image();
    image.alt = "";
    image.draggable = false;
    image.src = URL.createObjectURL(data);
    await image.decode();
    photo.image = image;
    photo.loading = false;
  } catch (error) {
    if (error.status) failures.set(name, (failures.get(name) ?? 0) + 1);
    photo.gone = error.status === 422;
    if (photo.gone || failures.get(name) >= TRIES) photo.error = error.message;
    else setTimeout(() => { photos.delete(name); fill(); }, 2000);
    photo.loading = !photo.error;
  }
  show();
}

async function closeLook(on, x = 0.5, y = 0.5) {
  const stage = element("stage");
  close = on && mode === "one" && Boolean(line[0] && photoOf(line[0])?.image);
  stage.classList.toggle("close", close);
  stage.setAttribute("aria-pressed", close);
  aim(x, y);
  if (!close) return;
  const ask = line[0];
  const name = `${EDGE.close}/${ask.sha256}`;
  if (!photos.has(name)) await load(name);
  if (close && line[0] === ask && photos.get(name)?.image) paint(photos.get(name).image);
}

function aim(x, y) {
  for (const image of element("stage").querySelectorAll("img")) image.style.transformOrigin = `${100 * x}% ${100 * y}%`;
}

function paint(image) {
  const stage = element("stage");
  const old = stage.querySelector("img");
  if (old === image) return;
  image.style.transformOrigin = close && old ? old.style.transformOrigin : "";
  if (!close) stage.classList.remove("seen");
  if (old) old.replaceWith(image);
  else stage.prepend(image);
}

// What is to be seen.

function show() {
  const ready = Boolean(state && me);
  const over = ready && !line.length;
  element("one").hidden = !ready || over || mode !== "one";
  element("grid").hidden = !ready || over || mode !== "grid";
  element("end").hidden = !over;
  element("progress").hidden = element("mode").hidden = element("controls").hidden = !ready;
  element("answers").hidden = element("skip").hidden = element("one").hidden;
  element("submit").hidden = element("grid").hidden;
  element("asked").textContent = over || !ready ? "" : mode === "one" ? `Does this photo show: ${queue.class}?`
    : `Press what shows: ${queue.class}. A second press is “unsure”, a third “no” again.`;
  element("mode").textContent = mode === "one" ? "Grid" : "Single";
  if (ready && !over && mode === "one") showOne();
  if (ready && !over && mode === "grid") showGrid();
  if (over) showEnd();
  if (ready) fill();
  tell();
}

function showOne() {
  const photo = photoOf(line[0]);
  const note = element("note");
  if (photo?.image) {
    if (!close) paint(photo.image);
  } else {
    element("stage").querySelector("img")?.remove();
  }
  element("stage").dataset.photo = line[0].sha256;
  note.hidden = Boolean(photo?.image);
  note.classList.toggle("problem", Boolean(photo?.error));
  note.textContent = photo?.error ? `This photo cannot be shown: ${photo.error}. Any answer goes on.` : "Loading";
  element("stage").setAttribute("aria-label", photo?.error ? note.textContent : "The photo: press to look closely");
}

const columns = () => (phone.matches ? 2 : 4);
const size = () => 3 * columns();

function showGrid() {
  page = page.filter((ask) => line.includes(ask) || line.some(({ sha256 }) => sha256 === ask.sha256));
  const here = new Set(page.map(({ sha256 }) => sha256));
  page.push(...line.filter(({ sha256 }) => !here.has(sha256)).slice(0, Math.max(0, size() - page.length)));
  const list = element("tiles");
  list.style.setProperty("--columns", columns());
  list.style.setProperty("--rows", Math.max(3, Math.ceil(page.length / columns())));
  const names = page.map(({ sha256 }) => sha256);
  for (const sha256 of [...tiles.keys()]) if (!names.includes(sha256)) { tiles.get(sha256).remove(); tiles.delete(sha256); }
  page.forEach((ask, place) => {
    if (!tiles.has(ask.sha256)) tiles.set(ask.sha256, tileOf(ask));
    const item = tiles.get(ask.sha256);
    if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    const tile = item.firstElementChild;
    const photo = photoOf(ask, EDGE.grid);
    const said = marks.get(ask.sha256) ?? "no";
    tile.dataset.answer = said;
    tile.disabled = Boolean(photo?.error);
    tile.querySelector("span").textContent = said;
    tile.querySelector("p").textContent = photo?.error ? `cannot be shown: ${photo.error}` : photo?.image ? "" : "Loading";
    tile.setAttribute("aria-label", `Photo ${place + 1}: ${photo?.error ? `cannot be shown, ${photo.error}` : said}`);
    if (photo?.image && !tile.contains(photo.image)) tile.prepend(photo.image);
  });
  const ready = page.filter((ask) => photoOf(ask, EDGE.grid)?.image);
  const counts = ["no", "yes", "unsure"]
    .map((vote) => [ready.filter(({ sha256 }) => (marks.get(sha256) ?? "no") === vote).length, vote]);
  const told = counts.filter(([count]) => count).map(([count, vote]) => `${count} ${vote}`).join(", ");
  element("submit").textContent = ready.length ? `Submit: ${told}` : page.every((a) => photoOf(a)?.error) ? "Go on" : "Loading";
}

function tileOf({ sha256 }) {
  const item = document.createElement("li");
  const tile = document.createElement("button");
  tile.className = "tile";
  tile.dataset.photo = sha256;
  tile.append(document.createElement("p"), document.createElement("span"));
  tile.onclick = () => mark(sha256, NEXT[marks.get(sha256) ?? "no"]);
  item.append(tile);
  return item;
}

function mark(sha256, answer) {
  if (!photos.get(`${EDGE.grid}/${sha256}`)?.image) return;
  if (answer === "no") marks.delete(sha256);
  else marks.set(sha256, answer);
  show();
}

function showEnd() {
  const { open, disputed, broken } = state.progress;
  const sure = !syncing && !away && !outbox().length;
  element("over").textContent = away ? "No photo is left here" : !sure ? "One moment" : open ? "Nothing for you now" : "All done";
  const split = disputed ? ` (${disputed} of them ${disputed === 1 ? "is" : "are"} disputed)` : "";
  element("why").textContent = away ? "More come as soon as there is a connection; your answers are kept here."
    : !sure ? "" : open ? `${plural(open, "photo")}${split} ${open === 1 ? "is" : "are"} for other annotators, or with them now.`
    : `Every photo of this queue is answered. Thank you, ${me}.`;
  if (broken && sure) element("why").textContent += ` ${plural(broken, "photo")} could not be shown.`;
}

function tell() {
  element("undo").disabled = !past.length;
  const waiting = queue ? outbox().length : 0;
  const left = queue ? earlier() : 0;
  element("earlier").textContent = left ? `${plural(left, "answer")} to an earlier queue kept in this browser` : "";
  const link = element("link");
  link.dataset.state = away ? "away" : "near";
  link.setAttribute("role", away ? "alert" : "note");
  link.textContent = away ? `${away[0].toUpperCase()}${away.slice(1)}${waiting ? `: ${plural(waiting, "answer")} kept in this browser` : ""}`
    : waiting ? `saving ${waiting}` : state ? "saved" : "";
  if (!state || !me) return;
  const { total, done, open, disputed, broken } = state.progress;
  const seen = total - broken;
  element("bar").value = seen ? done / seen : 1;
  element("count").textContent = `${done.toLocaleString("en")} of ${seen.toLocaleString("en")}`;
  document.title = `${queue.class} ${done}/${seen}`;
  const recent = times.filter((time) => Date.now() - time < 300000);
  const minutes = (Date.now() - recent[0]) / 60000;
  const rate = minutes > 0.25 ? recent.length / minutes : 0;   // sooner it would jump about
  element("pace").textContent = rate ? `${Math.round(rate)} a minute, ${open.toLocaleString("en")} left` : `${open.toLocaleString("en")} left`;
  element("queue").textContent = [
    `${plural(total, "photo")} in this queue: ${done} answered, ${open} open`, disputed && `${disputed} disputed`,
    broken && `${broken} cannot be shown`, queue.votes > 1 && `each is asked of ${queue.votes} annotators`,
  ].filter(Boolean).join(", ") + ".";
  for (const place of document.querySelectorAll(".counts")) place.replaceChildren(counts());
}

function counts() {
  const table = document.createElement("table");
  const row = (place, cells, kind) => {
    const made = place.insertRow();
    cells.forEach((text, i) => {
      const cell = document.createElement(i && kind !== "th" ? "td" : "th");
      cell.textContent = text;
      made.append(cell);
    });
  };
  row(table.createTHead(), ["annotator", "yes", "no", "unsure"], "th");
  const body = table.createTBody();
  const all = Object.entries(state.annotators).filter(([name, { yes, no, unsure }]) => name === me || yes + no + unsure);
  for (const [name, { yes, no, unsure }] of all.sort()) row(body, [name, yes, no, unsure]);
  return table;
}

// Hands: buttons, keys, fingers.

function change() {
  mode = mode === "one" ? "grid" : "one";
  kept.set("label:mode", mode);
  page = [];
  closeLook(false);
}

function blur() {
  const on = document.body.classList.toggle("blur");
  element("blur").setAttribute("aria-pressed", on);
  kept.set("label:blur", on ? "1" : "");
}

function rename() {
  kept.remove("label:name");
  me = "";
  state = null;
  element("help").close();
  greet();
  show();
}

function press(x, y) {
  const stage = element("stage");
  if (line[0] && photoOf(line[0])?.error) return pass([line[0]]);
  if (document.body.classList.contains("blur") && !stage.classList.contains("seen")) stage.classList.add("seen");
  else closeLook(!close, x, y);
}

addEventListener("keydown", (event) => {
  touched = Date.now();
  const at = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || element("help").open || !me) return;
  if (at.matches("input")) return;
  const name = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const done = act(name, at);
  if (done) event.preventDefault();
});

// Whether the key meant something.
function act(name, at) {
  if (name === "z" || name === "Backspace") return undo(), true;
  if (name === "?") return element("help").showModal(), true;
  if (name === "b") return blur(), true;
  if (name === "g") return change(), show(), sync(), true;
  const tile = at.closest(".tile");
  if (name === " " && !at.closest("button")) return look(), true;
  if (!element("one").hidden) {
    if (name in KEYS) return answer(KEYS[name]), true;
    if (name === "f" || (name === "Enter" && at.id === "stage")) return press(0.5, 0.5), true;
  } else if (!element("grid").hidden) {
    if (name === "Enter" && (tile || !at.closest("button"))) return submit(), true;
    if (name.startsWith("Arrow")) return step(name, tile), true;
    if (name in KEYS && tile && KEYS[name] !== "skip") {
      const place = [...element("tiles").children].indexOf(tile.parentElement);
      return mark(page[place].sha256, KEYS[name]), true;
    }
  }
  return false;
}

function step(name, tile) {
  const all = [...element("tiles").querySelectorAll(".tile")];
  const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns(), ArrowUp: -columns() }[name];
  const place = tile ? all.indexOf(tile) + move : 0;
  all[Math.max(0, Math.min(all.length - 1, place))]?.focus();
}

// A mouse on a button leaves the focus alone, so that the next key does not press it again.
addEventListener("mousedown", (event) => {
  if (event.target.closest("#controls, nav")) event.preventDefault();
});
addEventListener("pointerdown", () => { touched = Date.now(); }, { capture: true });

for (const button of document.querySelectorAll("button[data-answer]")) button.onclick = () => answer(button.dataset.answer);
element("undo").onclick = undo;
element("submit").onclick = submit;
element("mode").onclick = () => { change(); show(); sync(); };
element("blur").onclick = blur;
element("more").onclick = () => element("help").showModal();
element("close").onclick = () => element("help").close();
element("rename").onclick = rename;
phone.onchange = () => { if (state) show(); };

const stage = element("stage");
const pointers = new Map();
let start = null;

const place = ({ clientX, clientY }) => {
  const box = stage.getBoundingClientRect();
  return [(clientX - box.left) / box.width, (clientY - box.top) / box.height];
};

function swiped({ clientX, clientY }) {
  const [x, y] = [clientX - start.clientX, clientY - start.clientY];
  if (Math.max(Math.abs(x), Math.abs(y)) < SWIPE) return "";
  return Math.abs(x) > Math.abs(y) ? (x > 0 ? "yes" : "no") : y > 0 ? "unsure" : "skip";
}

stage.addEventListener("pointerdown", (event) => {
  pointers.set(event.pointerId, event);
  start = pointers.size === 1 && event.button === 0 ? event : null;   // two fingers zoom
  if (start) stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  if (close) return aim(...place(event));
  if (start?.pointerId === event.pointerId && event.pointerType !== "mouse") stage.dataset.swipe = swiped(event);
});
stage.addEventListener("pointerup", (event) => {
  const begun = start?.pointerId === event.pointerId ? start : null;
  const way = begun && !close && event.pointerType !== "mouse" ? swiped(event) : "";
  const still = begun && Math.hypot(event.clientX - begun.clientX, event.clientY - begun.clientY) < 10;
  forget(event);
  if (way) answer(way);
  else if (still) press(...place(event));
});
const forget = (event) => {
  pointers.delete(event.pointerId);
  start = null;
  delete stage.dataset.swipe;
};
stage.addEventListener("pointercancel", forget);

element("who").addEventListener("submit", (event) => {
  event.preventDefault();
  me = element("name").value.trim().replace(/\s+/g, " ");
  if (!me) return;
  kept.set("label:name", me);
  element("name").blur();
  enter();
});
element("door").addEventListener("submit", (event) => {
  event.preventDefault();
  key = element("key").value.trim();
  session.set("label:key", key);
  element("key").value = "";
  begin();
});
addEventListener("online", () => (me ? sync() : begin()));
addEventListener("visibilitychange", () => { if (me && document.visibilityState === "visible") sync(true); });
addEventListener("pagehide", () => {   // a last try; whatever does not arrive stays in the browser
  if (!queue) return;
  const headers = { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) };
  for (const name of new Set(outbox().map((one) => one.name))) {
    const body = JSON.stringify(message(name));
    fetch("/api/turn", { method: "POST", headers, body, keepalive: true }).catch(() => { });
  }
});

const given = new URLSearchParams(location.hash.slice(1)).get("key");
if (given) {
  session.set("label:key", given);
  history.replaceState(null, "", location.pathname);   // neither in bookmarks nor over a shoulder
}
key = session.get("label:key") ?? "";
if (kept.get("label:blur")) blur();
begin().then(show);
