// Detections as text: JSON as `spinenet-tf predict` writes it, and CSV.

/** Return the entry of an image in `detections.json`: boxes are `[top, left, bottom, right]` in its pixels. */
export function imageRow({ width, height }, found, names) {
  return { size: [height, width], detections: found.map((one) => row(one, names)) };
}

/** Return the entry of a video, whose frames are `[{seconds, found}]`. */
export function videoRow({ width, height }, frames, names) {
  const rows = frames.map(({ seconds, found }) => ({ seconds, detections: found.map((one) => row(one, names)) }));
  return { size: [height, width], frames: rows };
}

/** Return a CSV file of a video's frames `[{seconds, found}]`, with one line for each detection. */
export function csv(frames, names) {
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const line = (seconds, { class: name, score, box }) => [seconds.toFixed(3), quoted(name), score, ...box].join(",");
  const lines = frames.flatMap(({ seconds, found }) => found.map((one) => line(seconds, row(one, names))));
  return ["seconds,class,score,top,left,bottom,right", ...lines, ""].join("\n");
}

function row({ box, score, class: label }, names) {
  return { class: names[label], score: rounded(score, 4), box: box.map((side) => rounded(side, 2)) };
}

function rounded(value, digits) {
  return Number(value.toFixed(digits));
}

/** Let the browser save a text as a file. */
export function save(name, text) {
  const type = name.endsWith(".csv") ? "text/csv" : "application/json";
  const url = URL.createObjectURL(new Blob([text], { type }));
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads it after the click
}
