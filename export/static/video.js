// Detect in a video file while it plays; pause and seek in it; collect the detections by time.

import { Live } from "./live.js";
import { csv, videoRow } from "./results.js";

const element = (id) => document.getElementById(id);

export class VideoFile extends Live {
  constructor({ file, path }, page) {
    super(page);
    this.path = path;
    this.video.src = URL.createObjectURL(file);
    this.frames = new Map(); // {seconds, found}, by seconds
  }

  async run(changed, failed) {
    await loaded(this.video).catch(() => {
      throw new Error(`${this.path}: the browser cannot play this file.`);
    });
    if (this.left) return;
    this.control(changed);
    await super.run(changed, failed);
  }

  control(changed) {
    const { video } = this;
    const [play, position, speed] = ["play", "position", "speed"].map(element);
    play.onclick = () => (video.paused ? video.play() : video.pause());
    video.onplay = video.onpause = () => {
      play.textContent = video.paused ? "Play" : "Pause";
      changed();
    };
    position.max = video.duration;
    position.oninput = () => (video.currentTime = position.value);
    speed.onchange = () => (video.playbackRate = speed.value);
    speed.onchange();
    element("player").hidden = false;
  }

  taken({ width, height }, seconds, found) {
    this.size = { width, height };
    this.frames.set(seconds, { seconds, found });
    if (!this.video.seeking) element("position").value = seconds;
    element("time").textContent = `${clock(seconds)} / ${clock(this.video.duration)}`;
  }

  status() {
    return `Detecting in ${this.path}.`;
  }

  /** Return what can be saved: by format, a function that returns `{name, text}` of a file. */
  saves() {
    if (!this.frames.size) return {};
    const { names } = this.page;
    const frames = () => [...this.frames.values()].sort((a, b) => a.seconds - b.seconds);
    const content = () => ({ [this.path]: videoRow(this.size, frames(), names) });
    return {
      json: () => ({ name: "detections.json", text: JSON.stringify(content(), null, 1) }),
      csv: () => ({ name: "detections.csv", text: csv(frames(), names) }),
    };
  }

  leave() {
    super.leave();
    URL.revokeObjectURL(this.video.src);
    this.video.removeAttribute("src");
    element("player").hidden = true;
  }
}

/** Wait until the size and the duration of a video are known. */
async function loaded(video) {
  await event(video, "loadedmetadata");
  if (Number.isFinite(video.duration)) return;
  video.currentTime = Number.MAX_SAFE_INTEGER; // a recording may not state its duration; its end shows it
  await event(video, "seeked");
  video.currentTime = 0;
  await event(video, "seeked");
}

function event(target, name) {
  return new Promise((resolve, reject) => {
    target.addEventListener(name, resolve, { once: true });
    target.addEventListener("error", reject, { once: true });
  });
}

/** Return a time in a video as text, such as 1:02.50. */
function clock(seconds) {
  const hundredths = Math.round(100 * seconds);
  return `${Math.floor(hundredths / 6000)}:${((hundredths % 6000) / 100).toFixed(2).padStart(5, "0")}`;
}
