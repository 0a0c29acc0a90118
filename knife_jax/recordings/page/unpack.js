// What the file holds: gzip of a header in JSON, its length before it, and the arrays it points into.

async function unpack(text) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("this browser cannot unpack the recording: any of 2023 or newer can");
  const packed = Uint8Array.from(atob(text.trim()), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  return { ...header, episodes: header.episodes.map(e => opened(e, buffer, 4 + length)) };
}

const TYPES = { f4: Float32Array, u1: Uint8Array, i2: Int16Array };

function opened(value, buffer, start) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(one => opened(one, buffer, start));
  if (!("at" in value))
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, opened(v, buffer, start)]));
  const size = value.shape.reduce((a, b) => a * b, 1);
  const data = new TYPES[value.type](buffer, start + value.at, size);
  const row = value.shape.slice(1).reduce((a, b) => a * b, 1);
  return { shape: value.shape, low: value.low ?? 0, unit: value.unit ?? 1, at: t => {
    const i = Math.min(t, value.shape[0] - 1); // what never changes is there once
    return data.subarray(i * row, (i + 1) * row);
  } };
}
