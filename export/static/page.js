// Load the model, then detect in what a person selects or drops: pictures, a video, or the camera's image.

import { Camera } from "./camera.js";
import { CocoIds } from "./coco.js";
import { byKind, dropped, selected } from "./files.js";
import { Gallery } from "./gallery.js";
import { loadModel } from "./model.js";
import { save } from "./results.js";
import { Stage } from "./stage.js";
import { VideoFile } from "./video.js";

const element = (id) => document.getElementById(id);
const threshold = element("threshold");
const visible = (found) => found.filter(({ score }) => score >= Number(threshold.value));

let page = null; // what a source needs from this page
let source = null; // a Gallery, VideoFile or Camera
let skipped = []; // [path, reason] of the selected files that the source does not use
let ids = null; // of the COCO file that a person selected
let announced = null; // the status of the source that was shown last: later messages stay until it changes

async function load() {
  const { metadata, detect } = await loadModel();
  const names = metadata.class_names;
  const categories = metadata.category_ids ?? names.map((_, label) => label + 1);
  page = { detect, names, categories, visible, stage: new Stage(element("stage"), names, visible) };
  describe(metadata);
  element("sources").disabled = false;
  say("Ready: select pictures or a video, or drop them here.");
}

function describe({ model, input, class_names: names }) {
  const [summary, list] = element("model").children;
  const [, height, width] = input.shape;
  summary.textContent = `${model}, ${width} x ${height} px, ${names.length} ${names.length === 1 ? "class" : "classes"}`;
  list.textContent = names.join(", ");
  element("model").hidden = false;
}

/** Detect in files: in all pictures, or else in the first video. */
async function open(files) {
  const { pictures, videos, others } = byKind(files);
  const [video, ...more] = pictures.length ? [null, ...videos] : videos;
  skipped = [...more, ...others].map(({ path }) => [path, "not used"]);
  if (pictures.length) await start(new Gallery(pictures, page));
  else if (video) await start(new VideoFile(video, page));
  else throw new Error("There is no picture or video in this selection.");
}

/** Detect in a new source instead of the last one; null: in none. */
async function start(next) {
  source?.leave();
  page.stage.clear();
  [source, announced] = [next, null];
  refresh();
  const ours = (call) => (value) => next === source && call(value); // the last source may end after this one started
  await next?.run(ours(refresh), ours(fail)).catch(ours(fail));
}

async function toggleCamera() {
  skipped = [];
  await start(source instanceof Camera ? null : new Camera(page));
}

/** Show the state of the source. */
function refresh() {
  const status = source?.status() ?? "Ready.";
  if (status !== announced) say(status);
  announced = status;
  element("details").textContent = source?.details() ?? "";
  element("camera").textContent = source instanceof Camera ? "Stop the camera" : "Camera";
  list([...(source?.problems ?? []), ...skipped]);
  const saves = source?.saves() ?? {};
  for (const button of document.querySelectorAll("[data-format]")) button.hidden = !saves[button.dataset.format];
  element("saving").hidden = !Object.keys(saves).length;
  element("ids").hidden = !saves.coco;
}

/** List files with the reasons why they were left out. */
function list(files) {
  const [summary, items] = element("problems").children;
  element("problems").hidden = !files.length;
  summary.textContent = `${files.length} ${files.length === 1 ? "file was" : "files were"} left out`;
  items.replaceChildren(
    ...files.map((parts) => Object.assign(document.createElement("li"), { textContent: parts.join(": ") })),
  );
}

function saveAs(format) {
  const { name, text, note = "" } = source.saves()[format](ids);
  save(name, text);
  say(`Saved ${name}. ${note}`);
}

async function readIds([file]) {
  ids = file ? new CocoIds(await file.text()) : null;
  say(file ? `COCO results get the ids in ${file.name}.` : "COCO results number the pictures from 1.");
}

function say(text) {
  element("status").textContent = text;
}

function fail(error) {
  start(null);
  complain(error);
}

function complain(error) {
  say(`Error: ${error.message}`);
}

/** Call `handle` on an event of an element; show what it throws. */
function on(target, type, handle) {
  target.addEventListener(type, async (event) => {
    try {
      await handle(event);
    } catch (error) {
      complain(error);
    }
  });
}

for (const input of ["pictures", "folder", "video"].map(element)) {
  on(input, "change", () => {
    const files = selected(input);
    input.value = ""; // the same files can be selected again
    return files.length ? open(files) : null;
  });
}
on(element("camera"), "click", toggleCamera);
on(element("annotations"), "change", ({ target }) => readIds(target.files));
on(threshold, "input", () => {
  threshold.nextElementSibling.value = Number(threshold.value).toFixed(2);
  source?.draw();
  if (source) refresh();
});
for (const button of document.querySelectorAll("[data-format]")) {
  on(button, "click", () => saveAs(button.dataset.format));
}
on(document, "dragover", (event) => event.preventDefault()); // otherwise the browser opens a dropped file
on(document, "drop", async (event) => {
  event.preventDefault();
  const files = await dropped(event.dataTransfer);
  if (page) await open(files);
});
element("folder").parentElement.hidden = !("webkitdirectory" in element("folder")); // some phones have no folders
load().catch(complain);
