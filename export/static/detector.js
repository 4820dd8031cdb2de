// Pre- and postprocessing of a model file that outputs detections, as in the Python package.
// Boxes are [top, left, bottom, right] in pixels.

/** Scale RGBA pixels `{data, width, height}` into the top left of the network's input; return `{pixels, scale}`. */
export function preprocess(image, input) {
  const [, height, width] = input.shape;
  const scale = Math.min(height / image.height, width / image.width);
  const { data } = image; // a browser looks it up slowly
  const rows = samples(height, image.height, scale);
  const columns = samples(width, image.width, scale);
  const pixels = new Float32Array(height * width * 3); // zeros outside the image
  rows.forEach(([top, bottom, down], row) => {
    columns.forEach(([left, right, across], column) => {
      const at = (y, x) => (y * image.width + x) * 4; // the place of a pixel's red value
      const [topLeft, topRight] = [at(top, left), at(top, right)];
      const [bottomLeft, bottomRight] = [at(bottom, left), at(bottom, right)];
      for (let channel = 0; channel < 3; channel++) {
        const upper = data[topLeft + channel] * (1 - across) + data[topRight + channel] * across;
        const lower = data[bottomLeft + channel] * (1 - across) + data[bottomRight + channel] * across;
        const value = (upper * (1 - down) + lower * down) / 255;
        pixels[(row * width + column) * 3 + channel] = (value - input.mean[channel]) / input.std[channel];
      }
    });
  });
  return { pixels, scale };
}

/** Return, for each output position on the image, two source positions and the weight of the second. */
function samples(size, source, scale) {
  const found = [];
  for (let i = 0; i < size && i + 0.5 < source * scale - 1e-3; i++) {
    const position = Math.min(Math.max((i + 0.5) / scale - 0.5, 0), source - 1);
    const first = Math.floor(position);
    found.push([first, Math.min(first + 1, source - 1), position - first]);
  }
  return found;
}

/** Convert the model's outputs (typed arrays) to `[{box, score, class}]`, best first, in pixels of the input. */
export function detections({ boxes, scores, classes, num_detections: [count] }) {
  return Array.from({ length: count }, (_, index) => ({
    box: Array.from(boxes.subarray(4 * index, 4 * index + 4)),
    score: scores[index],
    class: classes[index],
  }));
}
