// Read the pixels of a picture or a video frame.

/** Decode an image file to RGBA pixels `{data, width, height}`, upright by its EXIF orientation. */
export async function readPicture(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }); // as in training
  const pixels = pixelsOf(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return pixels;
}

/** Return the RGBA pixels of what can be drawn on a canvas. */
export function pixelsOf(source, width, height) {
  const canvas = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  canvas.drawImage(source, 0, 0, width, height);
  return canvas.getImageData(0, 0, width, height);
}
