// Use the page at URL in Chromium as a person would, and print what it showed, as JSON.
// node browser.mjs FOLDER_WITH_PLAYWRIGHT CHROMIUM URL FILES OUTPUT
// FILES has a picture, a folder, videos and a COCO file; downloads and screenshots go to OUTPUT.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [modules, executablePath, url, files, output] = process.argv.slice(2);
const { chromium } = createRequire(`${modules}/`)("playwright-core");
const args = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
args.push("--disable-component-update", "--disable-sync");
args.push("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"); // a camera that shows a test pattern
const profile = join(output, "profile");
const browser = await chromium.launchPersistentContext(profile, { executablePath, args, chromiumSandbox: false });
const page = await browser.newPage();
page.setDefaultTimeout(60000);
const problems = [];
const foreign = [];
page.on("pageerror", (error) => problems.push(String(error)));
page.on("request", (request) => {
  if (!request.url().startsWith(url) && !/^(blob|data):/.test(request.url())) foreign.push(request.url());
});

const texts = (selector) => page.locator(selector).allTextContents();
const text = (selector) => page.locator(selector).textContent();
const button = (name) => page.getByRole("button", { name, exact: true });
const status = (pattern) => page.getByRole("status").filter({ hasText: pattern }).waitFor();
const select = (label, ...names) => page.getByLabel(label, { exact: true }).setInputFiles(names.map((name) => join(files, name)));

async function save(label, name) {
  const [download] = await Promise.all([page.waitForEvent("download"), button(label).click()]);
  await download.saveAs(join(output, name));
  return text("#status");
}

async function picture() {
  await select("Pictures", "picture.png");
  await status(/found in \d+ ms/);
  await save("Save as JSON", "picture.json");
  const list = await texts("#found li");
  const stage = await page.locator("#stage .scene").boundingBox();
  const boxes = await page.locator("#stage .box").evaluateAll((all) => all.map((box) => box.getBoundingClientRect()));
  await page.screenshot({ path: join(output, "picture.png") });
  await page.getByRole("slider", { name: "Minimum score" }).fill("0.95");
  return { list, stage, boxes, status: await text("#status"), above: await texts("#found li") };
}

async function folder() {
  await page.getByRole("slider", { name: "Minimum score" }).fill("0.3");
  await select("Folder", "folder");
  await status(/pictures, \d+ ms each/);
  const shown = { status: await text("#status"), gallery: await texts("#gallery li"), problems: await texts("#problems li") };
  await save("Save as JSON", "folder.json");
  await save("Save as COCO results", "numbered.json");
  await select("Take ids from a COCO file", "annotations.json");
  await status(/ids in annotations.json/);
  shown.saved = await save("Save as COCO results", "coco.json");
  await page.setViewportSize({ width: 390, height: 844 });
  shown.phoneWidth = await page.evaluate(() => document.documentElement.scrollWidth);
  await page.screenshot({ path: join(output, "phone.png"), fullPage: true });
  await page.setViewportSize({ width: 1280, height: 720 });
  return shown;
}

/** Walk through the gallery with the keyboard; return the names of the pictures shown. */
async function keyboard() {
  const names = [];
  await page.locator("#gallery button").first().focus();
  for (const key of ["Enter", "ArrowRight", "ArrowLeft"]) {
    await page.keyboard.press(key);
    names.push(await text("#name"));
  }
  await page.keyboard.press("Escape");
  return [...names, await page.evaluate(() => document.activeElement.children[1].textContent)];
}

async function drop() {
  const contents = ["picture.png", "folder/broken.jpg", "picture.png"].map((name) => [name, readFileSync(join(files, name), "base64")]);
  const transfer = await page.evaluateHandle((all) => {
    const made = new DataTransfer();
    const bytes = (content) => Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
    all.forEach(([name, content]) => made.items.add(new File([bytes(content)], name, { type: "image/png" })));
    return made;
  }, contents);
  await page.dispatchEvent("main", "drop", { dataTransfer: transfer });
  await status(/ 2 of 3 pictures/);
  return texts("#gallery li span:nth-child(2)");
}

async function video() {
  await select("Video", "clip.webm");
  await button("Play").waitFor(); // at its end
  const played = await text("#details");
  await page.getByRole("slider", { name: "Position in seconds" }).fill("0.55");
  await page.getByText("0:00.50 / 0:01.20").waitFor();
  const frame = await page.locator("#stage canvas").evaluate((canvas) => canvas.toDataURL("image/png"));
  writeFileSync(join(output, "frame.png"), Buffer.from(frame.split(",")[1], "base64"));
  await page.screenshot({ path: join(output, "video.png") });
  await save("Save as JSON", "video.json");
  await save("Save as CSV", "video.csv");
  await select("Video", "recording.webm");
  await page.getByText("/ 0:01.10").waitFor();
  await select("Video", "folder/notes.txt");
  await status(/no picture or video/);
  return { played, status: await text("#status") };
}

async function camera() {
  await button("Camera").click();
  await page.getByText(/Frames: [1-9]\d* used/).waitFor();
  const details = await text("#details");
  await button("Stop the camera").click();
  await status("Ready.");
  return { details, hidden: await page.locator("#stage").isHidden() };
}

/** Return what detector.js reads from outputs with garbage in the places after the last detection. */
function garbage() {
  return page.evaluate(async () => {
    const { detections } = await import("./detector.js");
    const [boxes, scores] = [Float32Array.of(1, 2, 3, 4, NaN, 1e30, -1, 0), Float32Array.of(0.5, NaN)];
    return detections({ boxes, scores, classes: Int32Array.of(2, 99), num_detections: Int32Array.of(1) });
  });
}

try {
  await page.goto(url);
  await status("Ready");
  const shown = {};
  for (const step of [picture, folder, keyboard, drop, video, camera, garbage]) shown[step.name] = await step();
  console.log(JSON.stringify({ ...shown, problems, foreign }));
} finally {
  await browser.close();
}
