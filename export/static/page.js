// Load the model once, detect objects in a selected file or in camera frames, and draw the detections.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

import { detections, preprocess } from "./detector.js";

const element = (id) => document.getElementById(id);
const picture = element("picture").getContext("2d", { willReadFrequently: true });
const threshold = element("threshold");
let stream = null; // the camera's stream while it runs
let shown = null; // the last image with its detections

const loading = load();

async function load() {
  const metadata = await (await fetch("model.metadata.json")).json();
  await loadLiteRt("vendor/core/wasm/");
  const model = await loadAndCompile("model.tflite", { accelerator: "wasm" });
  element("status").textContent = "Ready: select an image.";
  element("file").disabled = element("camera").disabled = false;
  return { model, metadata };
}

/** Return the detections in RGBA pixels: `[{box, score, class}]`, boxes in pixels of the image. */
async function detect(image) {
  const { model, metadata } = await loading;
  const { pixels, scale } = preprocess(image, metadata.input);
  const input = new Tensor(pixels, metadata.input.shape);
  const tensors = await model.run({ [metadata.input.name]: input });
  // Copy, because `delete` frees the engine's memory.
  const outputs = Object.fromEntries(Object.entries(tensors).map(([name, x]) => [name, x.toTypedArray().slice()]));
  [input, ...Object.values(tensors)].forEach((tensor) => tensor.delete());
  const limits = [image.height, image.width, image.height, image.width];
  const inImage = (box) => box.map((side, index) => Math.min(side / scale, limits[index]));
  return detections(outputs).map((found) => ({ ...found, box: inImage(found.box) }));
}

/** Show an image or a video frame with its detections. */
async function show(source, width, height) {
  const frame = new OffscreenCanvas(width, height).getContext("2d");
  frame.drawImage(source, 0, 0, width, height);
  const image = frame.getImageData(0, 0, width, height);
  const started = performance.now();
  const found = await detect(image);
  shown = { image, found, milliseconds: performance.now() - started };
  await draw();
}

async function draw() {
  if (!shown) return;
  const { class_names: names } = (await loading).metadata;
  const { image, milliseconds } = shown;
  const found = shown.found.filter(({ score }) => score >= Number(threshold.value));
  Object.assign(picture.canvas, { width: image.width, height: image.height });
  picture.putImageData(image, 0, 0);
  const unit = Math.max(1, Math.min(image.width, image.height) / 160); // scales lines and text with the image
  found.forEach((one) => drawBox(one.box, `${names[one.class]} ${one.score.toFixed(2)}`, one.class, unit));
  element("found").replaceChildren(...found.map((one) => row(one, names)));
  element("status").textContent = `${found.length} found in ${milliseconds.toFixed(0)} ms.`;
}

function drawBox([top, left, bottom, right], text, label, unit) {
  picture.strokeStyle = picture.fillStyle = `hsl(${(label * 137) % 360} 90% 45%)`; // distant hues for consecutive classes
  picture.lineWidth = unit;
  picture.strokeRect(left, top, right - left, bottom - top);
  picture.font = `${8 * unit}px system-ui, sans-serif`;
  const above = top > 10 * unit ? top - 10 * unit : top;
  picture.fillRect(left, above, picture.measureText(text).width + 2 * unit, 10 * unit);
  picture.fillStyle = "white";
  picture.fillText(text, left + unit, above + 8 * unit);
}

function row(found, names) {
  const item = document.createElement("li");
  item.textContent = `${names[found.class]}, score ${found.score.toFixed(3)}, box ${found.box.map((side) => side.toFixed(1)).join(", ")}`;
  item.dataset.detection = JSON.stringify(found);
  return item;
}

async function showFile() {
  const [file] = element("file").files;
  if (!file) return;
  const image = await createImageBitmap(file); // applies the EXIF orientation
  await show(image, image.width, image.height);
}

async function toggleCamera() {
  if (stream) {
    stream.getTracks().forEach((track) => track.stop());
    stream = null;
  } else {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  }
  element("camera").textContent = stream ? "Stop the camera" : "Start the camera";
  if (stream) await showCamera(stream);
}

async function showCamera(current) {
  const video = Object.assign(document.createElement("video"), { srcObject: current, muted: true, playsInline: true });
  await video.play();
  while (stream === current) {
    await show(video, video.videoWidth, video.videoHeight);
    await new Promise(requestAnimationFrame);
  }
}

function report(error) {
  element("status").textContent = `Error: ${error.message}`;
}

element("file").addEventListener("change", () => showFile().catch(report));
element("camera").addEventListener("click", () => toggleCamera().catch(report));
threshold.addEventListener("input", () => draw().catch(report));
loading.catch(report);
