// A zip of files as they are: pictures do not get smaller.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

async function crc32(blob) {
  let crc = -1;
  for (const byte of new Uint8Array(await blob.arrayBuffer())) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// [bytes, number] pairs, little-endian.
function packed(...fields) {
  const bytes = fields.flatMap(([size, value]) => Array.from({ length: size }, (_, i) => Math.floor(value / 256 ** i) & 255));
  return Uint8Array.from(bytes);
}

// [name, blob] pairs to one blob. 0x800: names are UTF-8. 33: the first of January 1980.
export async function zip(files) {
  const parts = [];
  const directory = [];
  let place = 0;
  for (const [text, blob] of files) {
    const name = new TextEncoder().encode(text);
    const common = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, 33], [4, await crc32(blob)], [4, blob.size], [4, blob.size], [2, name.length]];
    const local = packed([4, 0x04034b50], ...common, [2, 0]);
    directory.push(packed([4, 0x02014b50], [2, 20], ...common, [2, 0], [2, 0], [2, 0], [2, 0], [4, 0], [4, place]), name);
    parts.push(local, name, blob);
    place += local.length + name.length + blob.size;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = packed([4, 0x06054b50], [2, 0], [2, 0], [2, files.length], [2, files.length], [4, size], [4, place], [2, 0]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}
