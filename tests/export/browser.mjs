// Opens the page at `url` in Chromium, detects in `image` and prints what the page lists, as JSON.
// node browser.mjs FOLDER_WITH_PLAYWRIGHT CHROMIUM PROFILE URL IMAGE SCREENSHOT

import { createRequire } from "node:module";

const [folder, executablePath, profile, url, image, screenshot] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const args = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
args.push("--disable-component-update", "--disable-sync");
const browser = await chromium.launchPersistentContext(profile, { executablePath, args, chromiumSandbox: false });
try {
  const page = await browser.newPage();
  const problems = [];
  const foreign = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => request.url().startsWith(url) || foreign.push(request.url()));
  await page.goto(url);
  await page.locator("#file:not([disabled])").waitFor({ timeout: 60000 });
  await page.locator("#threshold").fill("0");
  await page.locator("#file").setInputFiles(image);
  await page.getByText(/found in \d+ ms/).waitFor({ timeout: 60000 });
  const items = await page.locator("#found li").all();
  const found = await Promise.all(items.map(async (item) => JSON.parse(await item.getAttribute("data-detection"))));
  const texts = await page.locator("#found li").allTextContents();
  const status = await page.locator("#status").textContent();
  await page.locator("#threshold").fill("0.3");
  await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ found, texts, status, problems, foreign: foreign.filter((x) => !/^(blob|data):/.test(x)) }));
} finally {
  await browser.close();
}
