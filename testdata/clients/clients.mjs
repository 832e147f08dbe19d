// Clients from npm, and what Immich's server sends, asking infer serve: make clients runs it in the folder with node_modules.
// Usage: node clients.mjs BASE EXPECTED DOG, as clients.py.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [base, expectedPath, dogPath] = process.argv.slice(2);
const require = createRequire(process.cwd() + "/");
const load = (name) => import(pathToFileURL(require.resolve(name)));
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
const expected = JSON.parse(readFileSync(expectedPath));
const texts = Object.keys(expected.texts), rows = Object.values(expected.texts), dog = expected.dog;
const dogBytes = readFileSync(dogPath), dogURI = "data:image/png;base64," + dogBytes.toString("base64");
const model = "emoji-64";

function near(got, want) {
  if (got.length !== want.length) throw new Error(`a row of ${got.length}, not ${want.length}`);
  const worst = Math.max(...want.map((x, i) => Math.abs(x - got[i])));
  if (!(worst < 1e-5)) throw new Error(`${worst} off`);
}
const allNear = (got, want) => {
  if (got.length !== want.length) throw new Error(`${got.length} rows, not ${want.length}`);
  want.forEach((w, i) => near(got[i], w));
};
async function refused(promise, words) {
  const error = await promise.then(() => new Error("a request that is wrong was not refused"), (e) => e);
  if (!error.message.includes(words)) throw error;
}

async function report(client, version, does, run) {
  let wrong = "";
  try { await run(); } catch (e) { wrong = String(e.stack || e); }
  console.log(JSON.stringify({ client, version, does, wrong }));
}

await report("openai (Node)", version("openai"), "texts, images as data URIs, models, errors", async () => {
  const { default: OpenAI } = await load("openai");
  const c = new OpenAI({ baseURL: base + "/v1", apiKey: "none" });
  allNear((await c.embeddings.create({ model, input: texts })).data.map((d) => d.embedding), rows);
  near((await c.embeddings.create({ model, input: [dogURI], encoding_format: "float" })).data[0].embedding, dog);
  if ((await c.models.retrieve(model)).id !== model) throw new Error("another model");
  await refused(c.embeddings.create({ model: "other", input: "a" }), "is not served here");
});

await report("ollama (Node)", version("ollama"), "embed, list, show", async () => {
  const { Ollama } = await load("ollama");
  const c = new Ollama({ host: base });
  allNear((await c.embed({ model, input: texts })).embeddings, rows);
  if ((await c.list()).models[0].name !== model) throw new Error("another model");
  if ((await c.show({ model })).model_info["clip.embedding_length"] !== dog.length) throw new Error("another length");
  await refused(c.embed({ model: "other", input: "a" }), "is not served here");
});

// As machine-learning.repository.ts: a form of entries with an image or a text, the embedding as JSON in a string.
await report("Immich's server", "its requests replayed", "ping, clip.visual and .textual, a face refused", async () => {
  const ask = async (entries, part) => {
    const form = new FormData();
    form.append("entries", JSON.stringify(entries));
    if (typeof part === "string") form.append("text", part); else form.append("image", new Blob([part]));
    return fetch(new URL("/predict", base), { method: "POST", body: form });
  };
  if (await (await fetch(new URL("/ping", base))).text() !== "pong") throw new Error("no pong");
  const visual = await (await ask({ clip: { visual: { modelName: "ViT-B-32__openai", options: {} } } }, dogBytes)).json();
  near(JSON.parse(visual.clip), dog);
  if (visual.imageHeight !== 256 || visual.imageWidth !== 256) throw new Error("another size");
  const textual = await (await ask({ clip: { textual: { modelName: "ViT-B-32__openai", options: { language: "en" } } } }, texts[0])).json();
  near(JSON.parse(textual.clip), rows[0]);
  const faces = await ask({ "facial-recognition": { detection: { modelName: "buffalo_l" }, recognition: { modelName: "buffalo_l" } } }, dogBytes);
  if (faces.ok) throw new Error("faces were found");
});
