// The model file of this page, run by LiteRT.js.

import { loadAndCompile, loadLiteRt, Tensor } from "@litertjs/core";

import { detections, preprocess } from "./detector.js";

/** Load the model; return `{metadata, detect}`. */
export async function loadModel() {
  const metadata = await (await fetch("model.metadata.json")).json();
  await loadLiteRt("vendor/core/wasm/");
  const model = await loadAndCompile("model.tflite", { accelerator: "wasm" });
  let last = Promise.resolve(); // the engine takes one image at a time

  /** Return the detections in RGBA pixels `{data, width, height}`: `[{box, score, class}]`, boxes in its pixels. */
  const detect = (image) => (last = last.catch(() => null).then(() => run(model, metadata.input, image)));
  return { metadata, detect };
}

async function run(model, { name, shape, mean, std }, image) {
  const { pixels, scale } = preprocess(image, { shape, mean, std });
  const input = new Tensor(pixels, shape);
  const tensors = await model.run({ [name]: input });
  // Copy, because `delete` frees the engine's memory.
  const outputs = Object.fromEntries(Object.entries(tensors).map(([key, x]) => [key, x.toTypedArray().slice()]));
  [input, ...Object.values(tensors)].forEach((tensor) => tensor.delete());
  const limits = [image.height, image.width, image.height, image.width];
  const inImage = (box) => box.map((side, index) => Math.min(side / scale, limits[index]));
  return detections(outputs).map((found) => ({ ...found, box: inImage(found.box) }));
}
