// The files that a person selects or drops: `{file, path}`, the path inside the folder.

/** Return the files of an `<input type="file">`. */
export function selected(input) {
  return withoutFolder([...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name })));
}

/** Return the files that were dropped, also those in folders. */
export async function dropped(transfer) {
  const items = [...transfer.items].filter(({ kind }) => kind === "file");
  // Entries and files can only be read before the first `await`.
  const sources = items.map((item) => [item.webkitGetAsEntry?.(), item.getAsFile()]);
  const found = sources.map(([entry, file]) => (entry?.isDirectory ? inFolder(entry) : [{ file, path: file.name }]));
  return withoutFolder((await Promise.all(found)).flat());
}

async function inFolder(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, path: entry.fullPath.slice(1) }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // 100 at most
    if (!some.length) return (await Promise.all(found.map(inFolder))).flat();
    found.push(...some);
  }
}

/** Remove the folder that all paths have in common. */
function withoutFolder(files) {
  const folder = files[0]?.path.match(/^[^/]+\//)?.[0];
  if (!folder || !files.every(({ path }) => path.startsWith(folder))) return distinct(files);
  return files.map(({ file, path }) => ({ file, path: path.slice(folder.length) }));
}

/** Number files of the same name: a phone may call every photo `image.jpg`. */
function distinct(files) {
  const counts = new Map();
  return files.map(({ file, path }) => {
    counts.set(path, (counts.get(path) ?? 0) + 1);
    return { file, path: counts.get(path) === 1 ? path : `${path} (${counts.get(path)})` };
  });
}

/** Sort files by path into `{pictures, videos, others}`, without hidden ones. */
export function byKind(files) {
  const kinds = { pictures: [], videos: [], others: [] };
  const order = ({ path: a }, { path: b }) => (a < b ? -1 : Number(a > b));
  for (const one of [...files].sort(order)) {
    const kind = { image: "pictures", video: "videos" }[one.file.type.split("/")[0]] ?? "others";
    if (!/(^|\/)\./.test(one.path)) kinds[kind].push(one);
  }
  return kinds;
}
