// Detect in the camera's frames.

import { Live } from "./live.js";

export class Camera extends Live {
  async run(changed, failed) {
    if (!navigator.mediaDevices) throw new Error("The camera needs a page on https or localhost.");
    const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    this.video.srcObject = stream;
    if (this.left) this.leave();
    else await super.run(changed, failed);
  }

  status() {
    return "Detecting in the camera's image.";
  }

  leave() {
    super.leave();
    this.video.srcObject?.getTracks().forEach((track) => track.stop());
  }
}
