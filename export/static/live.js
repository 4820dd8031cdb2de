// Detect in frames of a video while it plays, and show each frame together with its own boxes.

import { meter, watch } from "./frames.js";

export class Live {
  constructor(page) {
    this.page = page;
    this.video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this.canvas = document.createElement("canvas");
    this.rate = meter();
    this.left = false;
    this.last = null; // {found, milliseconds, rate} of the last frame
  }

  /** Play and detect until `leave` is called; call `changed` after each frame. */
  async run(changed, failed) {
    this.watching = watch(this.video, (image, seconds) => this.take(image, seconds).then(changed), failed);
    await this.video.play();
  }

  async take(image, seconds) {
    const started = performance.now();
    const found = await this.page.detect(image);
    if (this.left) return;
    this.last = { found, milliseconds: performance.now() - started, rate: this.rate() };
    this.taken(image, seconds, found);
    Object.assign(this.canvas, { width: image.width, height: image.height }).getContext("2d").putImageData(image, 0, 0);
    this.page.stage.show(this.canvas, image, found);
  }

  /** Do what a kind of video needs for each frame. */
  taken() {}

  saves() {
    return {};
  }

  draw() {
    this.page.stage.draw();
  }

  /** Return a line about the last frame. */
  details() {
    if (!this.last) return "";
    const { found, milliseconds, rate } = this.last;
    const { taken, missed } = this.watching;
    const speed = this.video.paused ? "" : `, ${rate} frames per second`;
    const first = `${this.page.visible(found).length} found in ${milliseconds.toFixed(0)} ms${speed}.`;
    return `${first} Frames: ${taken} used, ${missed} missed.`;
  }

  leave() {
    this.left = true;
    this.watching?.stop();
    this.video.pause();
  }
}
