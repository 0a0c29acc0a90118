// Colours, canvases and numbers, for all that is drawn.

const $ = id => document.getElementById(id);
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const PAINT = {};
function mixPaint() {
  for (const name of ["paper", "panel", "ink", "soft", "line", "ground", "agent", "enemy", "prey", "obstacle",
    "health", "cooldown", "stagnant", "dormant", "grafted", "cell", "minus", "return"])
    PAINT[name] = css("--" + name);
}

// A canvas as many pixels as the screen has, drawn on in CSS pixels.
function sheet(canvas, height) {
  const ratio = window.devicePixelRatio || 1, width = canvas.clientWidth;
  canvas.style.height = height + "px";
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

function el(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function brief(x) {
  if (!Number.isFinite(x)) return "–";
  const size = Math.abs(x), digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return (Object.is(+x.toFixed(digits), -0) ? 0 : x).toFixed(digits).replace("-", "−");
}

function circle(pen, x, y, r) {
  pen.beginPath();
  pen.arc(x, y, Math.max(r, 0), 0, 2 * Math.PI);
}

function tip(event, text) {
  const box = $("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const left = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
  const below = event.clientY + 18 + box.offsetHeight < innerHeight;
  box.style.left = Math.max(left, 8) + "px";
  box.style.top = (below ? event.clientY + 16 : event.clientY - 12 - box.offsetHeight) + "px";
}

// Shapes that tell marks apart without colour.
const MARKS = {
  stagnant(pen, x, y, r) { pen.beginPath(); pen.moveTo(x - r, y - r); pen.lineTo(x + r, y - r); pen.lineTo(x, y + r); pen.fill(); },
  dormant(pen, x, y, r) { circle(pen, x, y, r * .8); pen.lineWidth = Math.max(r * .5, 1); pen.stroke(); },
  grafted(pen, x, y, r) {
    pen.beginPath(); pen.moveTo(x, y - r * 1.1); pen.lineTo(x + r * 1.1, y); pen.lineTo(x, y + r * 1.1); pen.lineTo(x - r * 1.1, y); pen.fill();
  },
};
function mark(pen, name, x, y, r) {
  pen.fillStyle = pen.strokeStyle = PAINT[name];
  MARKS[name](pen, x, y, r);
}
