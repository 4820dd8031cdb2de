// Detect in pictures one after the other, and show them in a gallery. A file that cannot be read does not stop it.

import { drawScene } from "./boxes.js";
import { cocoRows } from "./coco.js";
import { readPicture } from "./picture.js";
import { imageRow } from "./results.js";

const element = (id) => document.getElementById(id);
const TILE = '<button type="button"><span class="frame"><span class="scene"></span></span><span></span><span></span></button>';
const KEYS = { ArrowLeft: "previous", ArrowRight: "next", Escape: "back" };

export class Gallery {
  constructor(files, page) {
    Object.assign(this, { files, page });
    this.pictures = []; // {path, number, url, size, found, tile}; number: place in `files`, from 1
    this.problems = []; // [path, reason] of files that could not be read
    this.milliseconds = 0; // of all pictures
    this.opened = 0; // index of the picture that is shown instead of the gallery
    this.state = "running"; // then "ended", "stopped", or "left" for another source
  }

  /** Detect in all files unless `stop` or `leave` is called; call `changed` after each file. */
  async run(changed) {
    this.control();
    for (const [index, file] of this.files.entries()) {
      this.drawProgress(index);
      await this.add(file, index + 1);
      if (this.state !== "running") break;
      changed();
    }
    if (this.state === "left") return;
    if (this.state === "running") this.state = "ended";
    element("progress").hidden = true;
    if (this.files.length === 1 && this.pictures.length) this.open(0);
    changed();
  }

  control() {
    element("stop").onclick = () => (this.state = "stopped");
    element("back").onclick = () => this.close();
    element("previous").onclick = () => this.open(this.opened - 1);
    element("next").onclick = () => this.open(this.opened + 1);
    element("stage").onkeydown = ({ key }) => element("browse").hidden || element(KEYS[key])?.click();
    element("gallery").hidden = false;
    element("progress").hidden = this.files.length === 1;
  }

  drawProgress(count) {
    Object.assign(element("progress").querySelector("progress"), { value: count, max: this.files.length });
    element("progress").querySelector("span").textContent = `${count} of ${this.files.length}`;
  }

  async add({ file, path }, number) {
    try {
      const image = await readPicture(file);
      const started = performance.now();
      const found = await this.page.detect(image);
      if (this.state === "left") return;
      this.milliseconds += performance.now() - started;
      const size = { width: image.width, height: image.height };
      const index = this.pictures.push({ path, number, size, found, url: URL.createObjectURL(file) }) - 1;
      this.pictures[index].tile = this.tile(index);
      this.drawTile(this.pictures[index]);
      this.drawBrowse(); // one may be open already
    } catch (error) {
      this.problems.push([path, error.message]);
    }
  }

  tile(index) {
    const item = document.createElement("li");
    item.innerHTML = TILE;
    item.firstChild.onclick = () => this.open(index);
    element("gallery").append(item);
    return item;
  }

  drawTile({ path, url, size, found, tile }) {
    const shown = this.page.visible(found);
    drawScene(tile.querySelector(".scene"), tile.querySelector("img") ?? imageOf(url, "", "lazy"), size, shown, this.page.names);
    const [, name, count] = tile.firstChild.children;
    [name.textContent, count.textContent] = [path, `${shown.length} found`];
  }

  /** Show one picture instead of the gallery. */
  open(index) {
    const { path, url, size, found } = this.pictures[index];
    this.opened = index;
    this.page.stage.show(imageOf(url, path), size, found);
    element("name").textContent = path;
    this.drawBrowse();
    element("gallery").hidden = true;
    element("browse").hidden = this.files.length === 1;
    if (!element("stage").contains(document.activeElement)) element("back").focus();
  }

  drawBrowse() {
    element("previous").disabled = this.opened === 0;
    element("next").disabled = this.opened === this.pictures.length - 1;
  }

  /** Show the gallery again. */
  close() {
    this.page.stage.clear();
    element("gallery").hidden = false;
    this.pictures[this.opened].tile.firstChild.focus();
  }

  draw() {
    this.pictures.forEach((picture) => this.drawTile(picture));
    this.page.stage.draw();
  }

  status() {
    const { state, files, pictures, problems, milliseconds, page } = this;
    if (state === "running") return "Detecting ...";
    const count = pictures.reduce((sum, { found }) => sum + page.visible(found).length, 0);
    const mean = `${(milliseconds / Math.max(1, pictures.length)).toFixed(0)} ms`;
    if (files.length === 1 && pictures.length) return `${count} found in ${mean}.`;
    const stopped = state === "stopped" ? "Stopped. " : "";
    const unreadable = problems.length ? ` Could not read: ${problems.length}.` : "";
    return `${stopped}${count} found in ${pictures.length} of ${files.length} pictures, ${mean} each.${unreadable}`;
  }

  details() {
    return "";
  }

  /** Return what can be saved: by format, a function that returns `{name, text, note}` of a file. */
  saves() {
    if (this.state === "running" || !this.pictures.length) return {};
    return { json: () => this.json(), coco: (ids) => this.coco(ids) };
  }

  json() {
    const rows = this.pictures.map(({ path, size, found }) => [path, imageRow(size, found, this.page.names)]);
    return { name: "detections.json", text: JSON.stringify(Object.fromEntries(rows), null, 1) };
  }

  /** Return COCO results with the ids of a COCO file; without it the pictures are numbered. */
  coco(ids) {
    const categories = ids?.ofClasses(this.page.names) ?? this.page.categories;
    const rowsOf = ({ path, number, found }) => cocoRows(ids?.ofImage(path) ?? number, found, categories);
    const rows = this.pictures.flatMap(rowsOf);
    const left = this.pictures.reduce((sum, { found }) => sum + found.length, 0) - rows.length;
    const note = left ? `It lacks ${left} detections of classes that the COCO file does not have.` : "";
    return { name: "coco_results.json", text: JSON.stringify(rows, null, 1), note };
  }

  leave() {
    this.state = "left";
    this.pictures.forEach(({ url }) => URL.revokeObjectURL(url));
    element("gallery").replaceChildren();
    for (const id of ["gallery", "progress", "browse"]) element(id).hidden = true;
    element("stage").onkeydown = null;
  }
}

function imageOf(src, alt, loading = "eager") {
  return Object.assign(document.createElement("img"), { loading, alt, src });
}
