"use strict";
// Where in the images of the page a text is. page.js has what is used here.

let where = false;               // overlays are shown
const explained = new Map();     // address of the image, text -> promise of its canvas

// targets are the elements with an image, each with the text that is looked for in it.
function targets() {
  if (current === "search") return [...document.querySelectorAll("#search li a")].map((e) => ({ e, text: asked?.text }));
  if (current !== "compare") return [];
  const texts = lines("texts");
  return [...document.querySelectorAll("#matrix tbody tr")].map((row) => {
    const best = [...row.querySelectorAll("td")].findIndex((cell) => cell.classList.contains("best"));
    return { e: row.querySelector("th"), text: texts[best] };
  });
}

let queue = Promise.resolve();   // one image at a time
const seen = new IntersectionObserver((entries) => entries.filter((e) => e.isIntersecting).forEach(({ target }) => {
  seen.unobserve(target);
  queue = queue.then(() => (where && target.isConnected ? cover(target, target.dataset.text) : null)).catch((e) => say(e.message, true));
}));

// watchOverlays draws overlays on the images that are in sight, or takes them all away.
function watchOverlays() {
  $("where-key").textContent = where ? translate("Hide where the text is (key w)") : translate("Show where the text is (key w)");
  seen.disconnect();
  document.querySelectorAll("canvas.overlay").forEach((c) => c.remove());
  if (!where) return;
  const list = targets().filter((t) => t.text);
  if (list.length === 0) say(translate("Where a text is needs an image and a text."));
  list.forEach(({ e, text }) => { e.dataset.text = text; seen.observe(e); });
}

async function cover(e, text) {
  const img = e.querySelector("img");
  const key = img.src + "\n" + text;
  if (!explained.has(key)) explained.set(key, overlay(img, text));
  const canvas = await explained.get(key).catch((error) => { explained.delete(key); throw error; });
  if (where && e.isConnected && e.dataset.text === text) e.append(canvas);
}

// overlay darkens an image where it does not show the text.
async function overlay(img, text) {
  await img.decode();
  const image = images.find((p) => p.url === img.src)?.data || await dataURL(await (await fetch(img.src)).blob());
  const { map, region, size } = await call("v1/explain", { image, text });
  const low = Math.min(...map.flat()), high = Math.max(...map.flat());
  const mask = make("canvas", { width: map[0].length, height: map.length });
  const pixels = new ImageData(mask.width, mask.height);
  map.flat().forEach((v, i) => { pixels.data[4 * i + 3] = high > low ? 204 * (1 - (v - low) / (high - low)) : 0; });
  mask.getContext("2d").putImageData(pixels, 0, 0);
  const canvas = make("canvas", { className: "overlay", width: img.naturalWidth, height: img.naturalHeight, title: translate("where: {}", text) });
  const [sx, sy] = [canvas.width / size[0], canvas.height / size[1]];
  const [x0, y0, x1, y1] = [region[0] * sx, region[1] * sy, region[2] * sx, region[3] * sy];
  const draw = canvas.getContext("2d");
  draw.drawImage(img, 0, 0, canvas.width, canvas.height);
  draw.fillStyle = "rgb(0 0 0 / 80%)"; // where the model does not look
  draw.fill(new Path2D(`M0 0H${canvas.width}V${canvas.height}H0Z M${x0} ${y0}H${x1}V${y1}H${x0}Z`), "evenodd");
  draw.drawImage(mask, x0, y0, x1 - x0, y1 - y0);
  return canvas;
}

$("where-key").addEventListener("click", () => {
  where = !where;
  watchOverlays();
});
