// The detector around its network: what `preprocess` and `detections` of the Python package do, in plain JavaScript.
// Boxes are [top, left, bottom, right] in pixels.

const MAX_LOG_SCALE = Math.log(1000 / 16); // the largest growth of a side, as in training

/** Fit RGBA pixels `{data, width, height}` into the network's input, top left: returns `{pixels, scale}`. */
export function preprocess(image, input) {
  const [, height, width] = input.shape;
  const scale = Math.min(height / image.height, width / image.width);
  const rows = samples(height, image.height, scale);
  const columns = samples(width, image.width, scale);
  const pixels = new Float32Array(height * width * 3); // zeros where the image does not reach
  rows.forEach(([top, bottom, down], row) => {
    columns.forEach(([left, right, across], column) => {
      for (let channel = 0; channel < 3; channel++) {
        const at = (y, x) => image.data[(y * image.width + x) * 4 + channel];
        const upper = at(top, left) * (1 - across) + at(top, right) * across;
        const lower = at(bottom, left) * (1 - across) + at(bottom, right) * across;
        const value = (upper * (1 - down) + lower * down) / 255;
        pixels[(row * width + column) * 3 + channel] = (value - input.mean[channel]) / input.std[channel];
      }
    });
  });
  return { pixels, scale };
}

/** For each output position that lies on the image: the two source positions and the weight of the second. */
function samples(size, source, scale) {
  const found = [];
  for (let i = 0; i < size && i + 0.5 < source * scale - 1e-3; i++) {
    const position = Math.min(Math.max((i + 0.5) / scale - 0.5, 0), source - 1);
    const first = Math.floor(position);
    found.push([first, Math.min(first + 1, source - 1), position - first]);
  }
  return found;
}

/** Decode raw outputs by name (typed arrays): `[{box, score, class}]`, best first, in pixels of the input. */
export function detections(outputs, metadata) {
  const { iou_threshold, max_detections, pre_nms_top_k } = metadata.decoding;
  const candidates = Object.keys(outputs)
    .filter((name) => name.startsWith("class_logits_"))
    .map((name) => name.slice("class_logits_".length))
    .sort()
    .flatMap((level) => aboveThreshold(outputs, metadata, level));
  candidates.sort((a, b) => b.score - a.score);
  const kept = [];
  for (const candidate of candidates.slice(0, pre_nms_top_k)) {
    if (kept.length === max_detections) break;
    const overlaps = (other) => other.class === candidate.class && iou(other.box, candidate.box) > iou_threshold;
    if (!kept.some(overlaps)) kept.push(candidate);
  }
  return kept;
}

function aboveThreshold(outputs, metadata, level) {
  const { score_threshold, background, plus_one } = metadata.decoding;
  const classes = metadata.class_names.length;
  const logits = outputs[`class_logits_${level}`];
  const deltas = outputs[`box_deltas_${level}`];
  const columns = metadata.outputs[`class_logits_${level}`].shape[2];
  const sides = anchorSides(metadata.anchors, Number(level.slice(1)));
  const stride = 2 ** Number(level.slice(1));
  const found = [];
  logits.forEach((logit, index) => {
    const label = index % classes;
    const score = 1 / (1 + Math.exp(-logit));
    if (score <= score_threshold || (background && label === 0)) return;
    const anchor = Math.floor(index / classes);
    const location = Math.floor(anchor / sides.length);
    const centre = [Math.floor(location / columns), location % columns].map((i) => (i + 0.5) * stride);
    const delta = deltas.subarray(anchor * 4, anchor * 4 + 4);
    const box = decode(delta, centre, sides[anchor % sides.length], plus_one ? 1 : 0);
    found.push({ box: clip(box, metadata.input.shape, plus_one ? 1 : 0), score, class: label });
  });
  return found;
}

/** Height and width of the anchors at each location of a level: scale outer, aspect ratio inner. */
function anchorSides({ num_scales, aspect_ratios, size }, level) {
  const scales = Array.from({ length: num_scales }, (_, scale) => size * 2 ** (level + scale / num_scales));
  return scales.flatMap((base) => aspect_ratios.map((ratio) => [base / Math.sqrt(ratio), base * Math.sqrt(ratio)]));
}

function decode([ty, tx, th, tw], centre, sides, end) {
  const [height, width] = sides.map((side) => side + end);
  const y = centre[0] + end / 2 + ty * height;
  const x = centre[1] + end / 2 + tx * width;
  const halfHeight = (height / 2) * Math.exp(Math.min(th, MAX_LOG_SCALE));
  const halfWidth = (width / 2) * Math.exp(Math.min(tw, MAX_LOG_SCALE));
  return [y - halfHeight, x - halfWidth, y + halfHeight - end, x + halfWidth - end];
}

function clip(box, [, height, width], end) {
  const limits = [height - end, width - end, height - end, width - end];
  return box.map((side, index) => Math.min(Math.max(side, 0), limits[index]));
}

function iou(a, b) {
  const area = (box) => Math.max(box[2] - box[0], 0) * Math.max(box[3] - box[1], 0);
  const height = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const width = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const union = area(a) + area(b) - height * width;
  return union > 0 ? (height * width) / union : 0;
}
