// One picture or video frame with its boxes, and the list of what was found in it.

import { drawScene, hue } from "./boxes.js";

export class Stage {
  /** `section` has a .scene and a list; `visible` selects the detections to show. */
  constructor(section, names, visible) {
    Object.assign(this, { section, names, visible });
    this.clear();
  }

  clear() {
    this.shown = null;
    this.section.hidden = true;
  }

  /** Show `media`, an image or a canvas, of `width` x `height` px with its detections. */
  show(media, { width, height }, found) {
    this.shown = { media, size: { width, height }, found };
    this.section.hidden = false;
    this.draw();
  }

  draw() {
    if (!this.shown) return;
    const { media, size } = this.shown;
    const found = this.visible(this.shown.found);
    drawScene(this.section.querySelector(".scene"), media, size, found, this.names);
    this.section.querySelector("ol").replaceChildren(...found.map((one) => row(one, this.names)));
  }
}

function row({ class: label, score }, names) {
  const item = document.createElement("li");
  item.style.setProperty("--hue", hue(label));
  item.textContent = `${names[label]} ${score.toFixed(2)}`;
  return item;
}
