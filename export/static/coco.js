// COCO results, as `spinenet-tf predict --format coco` writes them, and the ids in a COCO annotation file.

/** Return the COCO results of an image; `categories` has the id of each class, null for a class that is left out. */
export function cocoRows(imageId, found, categories) {
  return found
    .filter(({ class: label }) => categories[label] !== null)
    .map(({ box: [top, left, bottom, right], score, class: label }) => ({
      image_id: imageId,
      category_id: categories[label],
      bbox: [left, top, right - left, bottom - top],
      score,
    }));
}

/** The ids of images by file name, without folders, and of categories by name. */
export class CocoIds {
  constructor(text) {
    const { images, categories } = JSON.parse(text);
    this.images = byName(images, ({ file_name }) => baseName(file_name));
    this.categories = byName(categories, ({ name }) => name);
  }

  ofImage(path) {
    return only(this.images, baseName(path), "image");
  }

  /** Return the category id of each class; null for a class that the file does not have. */
  ofClasses(names) {
    if (!names.some((name) => this.categories.has(name))) throw new Error("The COCO file has none of the model's classes.");
    return names.map((name) => (this.categories.has(name) ? only(this.categories, name, "category") : null));
  }
}

function byName(entries, nameOf) {
  if (!Array.isArray(entries)) throw new Error("The file is not a COCO annotation file with images and categories.");
  const ids = new Map();
  for (const entry of entries) ids.set(nameOf(entry), [...(ids.get(nameOf(entry)) ?? []), entry.id]);
  return ids;
}

function only(ids, name, noun) {
  const found = ids.get(name) ?? [];
  if (found.length !== 1) throw new Error(`The COCO file has ${found.length || "no"} ${noun} named ${name}.`);
  return found[0];
}

function baseName(path) {
  return path.split(/[\\/]/).at(-1);
}
