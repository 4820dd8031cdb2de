// Take frames of a video element, which plays a file or the camera's stream, one at a time.

import { pixelsOf } from "./picture.js";

/**
 * Call `take(image, seconds)` with frames of `video` as RGBA pixels, and wait for it. The frames that the video shows
 * meanwhile are missed, except the one at which it is paused. Return `{stop, taken, missed}`, the last two as counts.
 */
export function watch(video, take, failed) {
  const state = { taken: 0, missed: 0, stop };
  let waiting = null; // the last frame, until it is taken
  let before = null; // the frames before the first one that is taken
  let busy = false;
  let handle = video.requestVideoFrameCallback(presented);
  video.addEventListener("pause", takePaused);

  function presented(_, frame) {
    handle = video.requestVideoFrameCallback(presented);
    waiting = frame;
    if (!busy) takeWaiting();
  }

  async function takeWaiting() {
    const { mediaTime, presentedFrames } = waiting;
    waiting = null;
    before ??= presentedFrames - 1;
    state.missed = presentedFrames - before - ++state.taken;
    busy = true;
    try {
      await take(pixelsOf(video, video.videoWidth, video.videoHeight), mediaTime);
    } catch (error) {
      failed(error);
    }
    busy = false;
    takePaused();
  }

  // A paused video shows no other frame. A playing one soon does, and may already show another than `waiting`.
  function takePaused() {
    if (video.paused && waiting && !busy) takeWaiting();
  }

  function stop() {
    video.cancelVideoFrameCallback(handle);
    video.removeEventListener("pause", takePaused);
    waiting = null;
  }
  return state;
}

/** Return a function that returns the number of its calls in the last second. */
export function meter() {
  let times = [];
  return () => {
    const now = performance.now();
    times = [...times.filter((time) => time > now - 1000), now];
    return times.length;
  };
}
