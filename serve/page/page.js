"use strict";
// The page of infer serve. Embeddings are requested once and kept; the matrix is computed here.

const $ = (id) => document.getElementById(id);
const make = (name, props = {}, ...children) => {
  const e = Object.assign(document.createElement(name), props);
  e.append(...children);
  return e;
};

// translate gives a sentence in the browser's language, with values in place of its {}.
const korean = navigator.language.startsWith("ko");
function translate(sentence, ...values) {
  return values.reduce((s, v) => s.replace("{}", () => v), (korean && KOREAN[sentence]) || sentence);
}

function translatePage() {
  document.documentElement.lang = "ko";
  document.title = translate(document.title);
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const words = texts.currentNode.data.trim();
    texts.currentNode.data = texts.currentNode.data.replace(words, () => translate(words));
  }
  for (const name of ["aria-label", "placeholder"]) {
    document.querySelectorAll("[" + name + "]").forEach((e) => e.setAttribute(name, translate(e.getAttribute(name))));
  }
}
if (korean) translatePage();

let server = { index: undefined, token: false, max_inputs: 256, logit_scale: 100 };
let token = sessionStorage.getItem("token") || "";
let images = [];               // {name, url, data, row, error, picked}
const textRows = new Map();      // text -> its features
let round = 0;                   // of drawing: an older one that is late draws nothing

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

// call posts JSON and returns the answer's. It waits for a full queue, and asks for a missing token.
async function call(path, body) {
  for (let tries = 0; ; tries++) {
    const headers = { "Content-Type": "application/json", "X-Goclip-Page": "1" };
    if (token) headers.Authorization = "Bearer " + token;
    const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
    if (answer.status === 429 && tries < 5) {
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      say(translate("The server is busy; continuing in {} s.", seconds));
      await new Promise((done) => setTimeout(done, seconds * 1000));
      continue;
    }
    if (answer.status === 401 && tries < 3) {
      await askToken();
      continue;
    }
    const value = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(value.error?.message || translate("The server answered {}.", answer.status));
    return value;
  }
}

let asking = null;
function askToken() {
  asking ??= new Promise((done) => {
    const dialog = $("ask-token");
    dialog.addEventListener("close", () => {
      token = $("token").value;
      sessionStorage.setItem("token", token);
      asking = null;
      done();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

function floats(base64) {
  const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

function softmax(values) {
  const top = Math.max(...values);
  const parts = values.map((v) => Math.exp(server.logit_scale * (v - top)));
  const sum = parts.reduce((a, b) => a + b, 0);
  return parts.map((p) => p / sum);
}

const lines = (id) => [...new Set($(id).value.split("\n").map((s) => s.trim()).filter(Boolean))];

// --- images ---

async function add(files) {
  const chosen = [...files].filter((f) => f.type === "" || f.type.startsWith("image/"));
  if (chosen.length === 0) return;
  const fresh = chosen.map((f) => ({ name: f.name || "pasted", url: URL.createObjectURL(f), file: f }));
  images.push(...fresh);
  drawThumbs();
  const queue = fresh.slice();
  let done = 0;
  const worker = async () => {
    for (let p = queue.shift(); p; p = queue.shift()) {
      say(translate("Looking at {} of {} images…", ++done, fresh.length));
      try {
        p.data = await dataURL(p.file);
        p.row = floats((await call("v1/embeddings", { input: [{ image: p.data }], encoding_format: "base64" })).data[0].embedding);
      } catch (e) {
        p.error = e.message;
      }
      drawThumbs();
      await draw();
    }
  };
  await Promise.all([1, 2, 3, 4].map(worker));
  const bad = fresh.filter((p) => p.error);
  const said = bad.length > 0 && current !== "compare"; // there the table says it
  say(said ? bad[0].name + ": " + bad[0].error : "", said);
}

const dataURL = (file) => new Promise((done, fail) => {
  const reader = new FileReader();
  reader.onload = () => done("data:image/any;base64," + reader.result.slice(reader.result.indexOf(",") + 1));
  reader.onerror = () => fail(new Error(translate("The file cannot be read.")));
  reader.readAsDataURL(file);
});

function drawThumbs() {
  $("thumbs").replaceChildren(...images.map((p) => {
    const pick = make("button", { type: "button", className: "pick", title: p.error ? p.name + ": " + p.error : p.name, onclick: () => searchLike(p) },
      make("img", { src: p.url, alt: p.name }));
    pick.setAttribute("aria-pressed", String(!!p.picked));
    const away = make("button", { type: "button", className: "away", textContent: "×", onclick: () => remove(p) });
    away.setAttribute("aria-label", translate("Remove {}", p.name));
    return make("li", { className: p.error ? "bad" : "" }, pick, away, make("span", { className: "name", textContent: p.name, title: p.name }));
  }));
  $("offer").hidden = images.length > 0;
}

// samples are two sample images, to begin with.
async function samples() {
  $("sample").disabled = true;
  try {
    await add(await Promise.all(["dog.png", "racing_car.png"].map(async (name) => new File([await (await fetch("samples/" + name)).blob()], name, { type: "image/png" }))));
  } finally {
    $("sample").disabled = false;
  }
}

function remove(p) {
  URL.revokeObjectURL(p.url);
  images = images.filter((q) => q !== p);
  drawThumbs();
  draw();
}

// --- the matrix ---

async function draw() {
  const mine = ++round;
  const texts = lines("texts");
  const missing = texts.filter((t) => !textRows.has(t));
  try {
    for (let i = 0; i < missing.length; i += server.max_inputs) {
      const part = missing.slice(i, i + server.max_inputs);
      const answer = await call("v1/embeddings", { input: part.map((text) => ({ text })), encoding_format: "base64" });
      answer.data.forEach((d, n) => textRows.set(part[n], d.error ? null : floats(d.embedding)));
    }
  } catch (e) {
    say(e.message, true);
    return;
  }
  if (!server.logit_scale) server = { ...server, ...(await (await fetch("healthz")).json()) }; // the model was not loaded before
  if (mine !== round) return;
  if (images.length === 0 || texts.length === 0) {
    $("matrix").replaceChildren();
    return;
  }
  const unit = document.querySelector("input[name=unit]:checked").value;
  const corner = make("th", { scope: "col" }, make("span", { className: "unseen", textContent: translate("Image") }));
  const head = make("tr", {}, corner, ...texts.map((t) => make("th", { scope: "col", textContent: t })));
  $("matrix").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...images.map((p) => matrixRow(p, texts, unit)))));
  if (where) watchOverlays();
}

function matrixRow(p, texts, unit) {
  const row = make("tr", {}, make("th", { scope: "row" }, make("img", { src: p.url, alt: p.name, title: p.name })));
  if (!p.row) {
    row.append(make("td", { className: p.error ? "error" : "", colSpan: texts.length, textContent: p.error || "…" }));
    return row;
  }
  const cosines = texts.map((t) => (textRows.get(t) ? dot(p.row, textRows.get(t)) : NaN));
  const known = cosines.map((c) => (Number.isNaN(c) ? -1 : c));
  const shares = softmax(known);
  const best = known.indexOf(Math.max(...known));
  cosines.forEach((cosine, i) => {
    const heat = unit === "prob" ? shares[i] : Math.min(Math.max(cosine, 0), 1);
    const text = Number.isNaN(cosine) ? "–" : unit === "prob" ? (100 * shares[i]).toFixed(1) + " %" : cosine.toFixed(3);
    const cell = make("td", { textContent: text, className: (heat > 0.45 ? "hot" : "") + (i === best ? " best" : "") });
    cell.style.setProperty("--heat", Number.isNaN(heat) ? 0 : heat);
    row.append(cell);
  });
  return row;
}

// --- labels ---

async function labelAll() {
  const labels = lines("names");
  const ready = images.filter((p) => p.data && !p.error);
  if (labels.length === 0 || ready.length === 0) {
    say(labels.length === 0 ? translate("Type a label first.") : translate("Drop an image first."));
    return;
  }
  $("label").disabled = true;
  $("shares").replaceChildren();
  try {
    for (const p of ready) {
      say(translate("Labelling {}…", p.name));
      const answer = await call("v1/classify", { images: [p.data], labels, templates: [$("template").value], top_k: 5 });
      const list = make("ol", {}, ...answer.images[0].labels.map((l) => {
        const item = make("li", {}, make("span", { textContent: l.label }), make("span", { textContent: (100 * l.prob).toFixed(1) + " %" }));
        item.style.setProperty("--heat", l.prob);
        return item;
      }));
      $("shares").append(make("article", {}, make("img", { src: p.url, alt: p.name }), list));
    }
    say("");
  } catch (e) {
    say(e.message, true);
  }
  $("label").disabled = false;
}

// --- search ---

const pageSize = 60;
let asked = null;                // the latest query, of which more may be shown
let judged = new Map();          // path -> whether the image is a positive example
let improbable = [];             // hits that are not shown, because the list ends before them
let whole = false;               // the list of the latest query does not end there

async function find(query, offset = 0) {
  await known;
  if (server.index === null) return;
  if (query !== asked) judged = new Map();
  asked = query;
  whole = false;
  await search(offset);
}

// search asks by the query, or by the judged images once one of them fits.
async function search(offset, name) {
  const query = asked, marks = judged;
  const { yes, no } = marked();
  say(translate("Searching…"));
  try {
    const scope = { index: $("index").value, top_k: pageSize, offset };
    const lesson = { text: query.text || "", yes, no, propose: 6, name: name || "" };
    const answer = yes.length ? await call("v1/learn", { ...scope, ...lesson }) : await call("v1/search", { ...scope, ...query, min_probability: 0 });
    if (asked !== query || judged !== marks) return; // another one was asked meanwhile
    if (offset === 0) $("hits").replaceChildren();
    const length = listEnd(answer.hits);
    improbable = answer.hits.slice(length);
    $("hits").append(...answer.hits.slice(0, length).map(hitItem));
    $("open").replaceChildren(...(answer.proposals || []).map(hitItem));
    $("teach").hidden = yes.length === 0;
    const shown = $("hits").childElementCount;
    const counts = [shown.toLocaleString(), Math.max(answer.total, shown).toLocaleString()];
    $("shown").textContent = yes.length ? translate("{} of {} shown, by your {} answers", ...counts, yes.length + no.length)
      : translate("{} of {} shown, the most similar first", ...counts);
    drawEnd(answer.hits);
    $("more").hidden = !(answer.more || improbable.length) || shown + pageSize > 1000;
    say(answer.version ? translate("Saved. Search for {} to use it.", answer.name) : "");
    watchOverlays();
  } catch (e) {
    say(e.message, true);
  }
}

const percent = (p) => (p < 0.01 ? "< 1\u00a0%" : Math.round(100 * p) + "\u00a0%");

// listEnd is how many hits are shown: the list ends behind the last one that is probable enough.
function listEnd(hits) {
  if (whole || hits.every((h) => h.probability === undefined)) return hits.length;
  return hits.findLastIndex((h) => h.probability >= Number($("least").value)) + 1;
}

// drawEnd says where the list ends, and why.
function drawEnd(hits) {
  $("end").hidden = hits.every((h) => h.probability === undefined);
  const least = $("least").selectedOptions[0].textContent;
  $("ended").textContent = improbable.length === 0 ? ""
    : $("hits").childElementCount ? translate("The list ends here: each of the other images shows this with a probability below {}.", least)
      : translate("Nothing found: no image shows this with a probability of {} or more. The most probable has {}.", least, percent(Math.max(...hits.map((h) => h.probability))));
}

// showMore shows what the list left out, or the next hits.
function showMore() {
  whole = true;
  $("hits").append(...improbable.map(hitItem));
  search($("hits").childElementCount);
}

function marked() {
  const of = (fits) => [...judged].filter(([, f]) => f === fits).map(([path]) => path);
  return { yes: of(true), no: of(false) };
}

function hitItem(h) {
  const name = h.path.slice(h.path.lastIndexOf("/") + 1);
  const item = make("li", { title: h.path });
  item.dataset.path = h.path;
  if (h.image) {
    const at = h.image.replace(/^\//, "");
    item.append(make("a", { href: at + "&full=1", target: "_blank", rel: "noopener" }, make("img", { src: at, alt: name, loading: "lazy" })));
  }
  const vote = (fits, says) => {
    const b = make("button", { type: "button", className: fits ? "vote" : "vote down", title: says, onclick: () => judge(h.path, fits) });
    b.setAttribute("aria-label", name + ": " + says);
    b.setAttribute("aria-pressed", String(judged.get(h.path) === fits));
    return b;
  };
  item.append(make("span", { className: "path", textContent: name }),
    make("span", { className: "foot" }, make("span", { className: "score", textContent: h.score.toFixed(3) + (h.probability === undefined ? "" : " · " + percent(h.probability)) }), vote(true, translate("fits (y)")), vote(false, translate("does not fit (n)"))));
  return item;
}

// judge marks an image, or takes the mark away, and searches again if one fits.
async function judge(path, fits) {
  const was = judged.get(path);
  judged = new Map(judged); // an answer to the former marks is not shown
  judged.delete(path);
  if (was !== fits) judged.set(path, fits);
  document.querySelectorAll("#search li").forEach((item) => {
    if (item.dataset.path !== path) return;
    item.querySelectorAll("button").forEach((b, i) => b.setAttribute("aria-pressed", String(judged.get(path) === (i === 0))));
  });
  const { yes, no } = marked();
  if (yes.length === 0 && no.length > 0) say(translate("Now mark an image that fits."));
  else await search(0);
  const again = [...document.querySelectorAll("#hits li, #open li")].find((item) => item.dataset.path === path);
  again?.querySelector("button[aria-pressed=true], button").focus({ preventScroll: true });
}

function searchLike(p) {
  if (current !== "search" || !p.data || p.error) return;
  images.forEach((q) => { q.picked = q === p; });
  drawThumbs();
  find({ image: p.data });
}

// --- tabs ---

const tabs = ["compare", "labels", "search"];
let current = "compare";

function show(name, focus) {
  current = name;
  for (const t of tabs) {
    const on = t === name;
    $(t).hidden = !on;
    $("tab-" + t).setAttribute("aria-selected", String(on));
    $("tab-" + t).tabIndex = on ? 0 : -1;
    if (on && focus) $("tab-" + t).focus();
  }
  if (name === "search") $("search").after($("images")); // the hits first
  else document.querySelector("main").prepend($("images"));
  const searching = name === "search" && server.index === null;
  say(searching ? translate("There is nothing to search: start the server with infer serve --index DIR.") : "");
  $("ask").hidden = searching;
  $("like").hidden = searching;
  $("where-key").hidden = name === "labels" || searching;
  if (where) watchOverlays();
}

tabs.forEach((name, i) => {
  $("tab-" + name).addEventListener("click", () => show(name));
  $("tab-" + name).addEventListener("keydown", (e) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    const to = e.key === "Home" ? 0 : e.key === "End" ? tabs.length - 1 : step ? (i + step + tabs.length) % tabs.length : -1;
    if (to < 0) return;
    e.preventDefault();
    show(tabs[to], true);
  });
});

$("drop").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", (e) => { add(e.target.files); e.target.value = ""; });
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (e) => { e.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", (e) => { if (!e.relatedTarget) $("drop").classList.remove("over"); });
document.addEventListener("drop", (e) => { e.preventDefault(); $("drop").classList.remove("over"); add(e.dataTransfer.files); });
document.addEventListener("paste", (e) => add(e.clipboardData.files));

$("sample").addEventListener("click", samples);
$("more").addEventListener("click", showMore);
$("least").addEventListener("change", () => find(asked));
$("save").addEventListener("submit", (e) => { e.preventDefault(); if ($("word").value.trim()) search(0, $("word").value.trim()); });
document.addEventListener("keydown", (e) => {
  if (e.ctrlKey || e.metaKey || e.altKey || e.target.matches("input, textarea, select") || $("ask-token").open) return;
  const item = e.target.closest("#search li");
  if (e.key === "w") $("where-key").click();
  else if (item && "yn".includes(e.key)) judge(item.dataset.path, e.key === "y");
});
$("index").addEventListener("change", () => { if (asked) find(asked); });

let later = 0;
$("texts").addEventListener("input", () => { clearTimeout(later); later = setTimeout(draw, 300); });
document.querySelectorAll("input[name=unit]").forEach((r) => r.addEventListener("change", draw));
$("label").addEventListener("click", labelAll);
$("ask").addEventListener("submit", (e) => { e.preventDefault(); if ($("query").value.trim()) find({ text: $("query").value.trim() }); });

// known ends when the server has said what it is.
const known = (async () => {
  try {
    server = await (await fetch("healthz")).json();
    $("index").replaceChildren(...server.indices.map((i) => make("option", { value: i.name, textContent: i.name })));
    $("where").hidden = server.indices.length < 2;
    const has = server.index === null ? "" : ", " + translate("{} images to search", server.index.toLocaleString());
    $("model").textContent = server.model + (server.device ? " on " + server.device : "") + has;
    if (server.notice) Object.assign($("notice"), { textContent: server.notice, hidden: false });
    if (current === "search") show(current);
  } catch {
    say(translate("The server does not answer."), true);
  }
})();
