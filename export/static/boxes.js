// Boxes over a picture as HTML elements, so that lines and labels are sharp and readable at every size of the picture.

/** Place boxes and labels of detections over `media`, an image or a canvas of `width` x `height` px, in `scene`. */
export function drawScene(scene, media, { width, height }, found, names) {
  scene.style.setProperty("--ratio", width / height);
  const percent = (side, length) => `${(100 * side) / length}%`;
  const boxes = found.map(({ box: [top, left, bottom, right], score, class: label }) => {
    const box = document.createElement("div");
    box.className = `box${top < height / 10 ? " top" : ""}${left > 0.75 * width ? " right" : ""}`; // keeps labels inside
    Object.assign(box.style, { top: percent(top, height), height: percent(bottom - top, height) });
    Object.assign(box.style, { left: percent(left, width), width: percent(right - left, width) });
    box.style.setProperty("--hue", hue(label));
    box.dataset.label = `${names[label]} ${score.toFixed(2)}`;
    return box;
  });
  scene.replaceChildren(media, ...boxes);
}

/** Return the color of a class; consecutive classes get distant hues. */
export function hue(label) {
  return (label * 137.5) % 360;
}
