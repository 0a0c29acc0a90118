// Inside the networks: values of actions, what the team expects, and the neurons.

class Values {
  constructor(recording, follow) {
    const { actions, agents } = recording, table = $("values"), head = el("thead"), top = el("tr"), body = el("tbody");
    this.recording = recording;
    this.numbers = actions.length <= 16;
    if (Math.max(...actions.map(a => a.length)) > 2) head.className = "tall";
    top.append(el("th"));
    for (const name of actions) { const th = el("th"); th.append(el("span", name)); top.append(th); }
    head.append(top);
    this.rows = agents.map((name, i) => {
      const tr = el("tr"), th = el("th", name, { scope: "row", tabindex: 0 });
      th.onclick = () => follow(i);
      th.onkeydown = e => { if (e.key === "Enter") follow(i); };
      tr.append(th);
      const cells = actions.map(() => tr.appendChild(el("td")));
      body.append(tr);
      return { tr, th, cells };
    });
    table.append(head, body);
  }

  draw(episode, t, followed) {
    const over = t >= episode.length, step = Math.min(t, episode.length - 1), n = this.recording.actions.length;
    const { stage } = this.recording, kind = episode.scene.kind?.at(0);
    const values = episode.values.at(step), available = episode.available.at(step), actions = episode.action.at(step);
    this.rows.forEach(({ tr, th, cells }, i) => {
      th.textContent = this.recording.agents[i] + (kind ? ` · ${LETTERS[stage.kinds[kind[i]].name] ?? ""}` : "");
      tr.className = (over ? "over " : "") + (i === followed ? "followed" : "");
      const mine = values.subarray(i * n, (i + 1) * n), can = available.subarray(i * n, (i + 1) * n);
      const known = [...mine].filter((_, a) => can[a]), low = Math.min(...known), high = Math.max(...known);
      cells.forEach((td, a) => {
        const part = high > low ? (mine[a] - low) / (high - low) : .5;
        td.className = can[a] ? (actions[i] === a && !over ? "on" : "") : "off";
        td.style.background = can[a] ? `rgba(${PAINT.cell}, ${(.05 + .5 * part).toFixed(3)})` : "";
        td.textContent = this.numbers ? brief(mine[a]) : "";
        td.title = `${this.recording.actions[a]}: ${mine[a].toPrecision(4)}` + (can[a] ? "" : ", not available");
      });
    });
  }
}

class Chart {
  constructor(seek) {
    this.canvas = $("chart");
    const at = e => { const b = this.canvas.getBoundingClientRect(); return this.stepAt(e.clientX - b.left); };
    this.canvas.onclick = e => seek(at(e));
  }

  stepAt(x) {
    return Math.max(0, Math.min(this.length, Math.round((x - this.left) / this.wide * this.length)));
  }

  draw(episode, t) {
    const { pen, width, height } = sheet(this.canvas, this.canvas.clientWidth > 420 ? 300 : 200), n = episode.length;
    const q = Array.from({ length: n }, (_, i) => episode.q_tot.at(i)[0]);
    const followed = Array.from({ length: n }, (_, i) => episode.followed.at(i)[0]);
    const reward = Array.from({ length: n }, (_, i) => episode.reward.at(i)[0]);
    const all = [...q, ...followed, 0];
    let low = Math.min(...all), high = Math.max(...all);
    if (high - low < .1) [low, high] = [(low + high) / 2 - .05, (low + high) / 2 + .05];
    const room = (high - low) * .08;
    [low, high, this.left, this.length] = [low - room, high + room, 40, n];
    this.wide = width - this.left - 12;
    const x = i => this.left + this.wide * i / Math.max(n, 1), y = v => 8 + (height - 34) * (high - v) / (high - low);
    pen.font = "11px system-ui, sans-serif"; pen.lineWidth = 1;
    for (const v of ticks(low, high)) {
      pen.strokeStyle = PAINT.line; pen.beginPath(); pen.moveTo(this.left, y(v)); pen.lineTo(width - 12, y(v)); pen.stroke();
      pen.fillStyle = PAINT.soft; pen.textAlign = "right"; pen.textBaseline = "middle"; pen.fillText(brief(v), this.left - 6, y(v));
    }
    pen.textAlign = "center"; pen.textBaseline = "top"; pen.fillStyle = PAINT.soft;
    for (const v of ticks(0, n)) if (Number.isInteger(v)) pen.fillText(v, x(v), height - 20);
    const most = Math.max(...reward.map(Math.abs)) || 1;
    reward.forEach((r, i) => { if (r) {
      pen.fillStyle = r > 0 ? PAINT.prey : PAINT.enemy;
      pen.fillRect(x(i + 1) - 1.5, height - 26 - 16 * Math.abs(r) / most, 3, 16 * Math.abs(r) / most);
    } });
    this.line(pen, followed, x, y, PAINT.return, [5, 4]);
    this.line(pen, q, x, y, PAINT.agent, []);
    pen.strokeStyle = PAINT.ink; pen.lineWidth = 1; pen.beginPath(); pen.moveTo(x(t), 4); pen.lineTo(x(t), height - 26); pen.stroke();
    const at = Math.min(t, n - 1);
    for (const [values, colour] of [[followed, PAINT.return], [q, PAINT.agent]]) if (t < n) { circle(pen, x(t), y(values[at]), 3.5); pen.fillStyle = colour; pen.fill(); }
    const list = $("chartlegend");
    list.replaceChildren(
      swatch(PAINT.agent, "", t < n ? `Q_tot of what is chosen: ` : "Q_tot of what is chosen", t < n ? brief(q[at]) : ""),
      swatch(PAINT.return, "dashed", t < n ? "return that followed, discounted: " : "return that followed, discounted", t < n ? brief(followed[at]) : ""),
      swatch(PAINT.prey, "", "rewards, as they came", ""));
  }

  line(pen, values, x, y, colour, dash) {
    pen.strokeStyle = colour; pen.lineWidth = 2; pen.setLineDash(dash); pen.beginPath();
    values.forEach((v, i) => i ? pen.lineTo(x(i), y(v)) : pen.moveTo(x(i), y(v)));
    pen.stroke(); pen.setLineDash([]);
    if (values.length === 1) { circle(pen, x(0), y(values[0]), 3); pen.fillStyle = colour; pen.fill(); }
  }
}

function swatch(colour, dashed, text, value) {
  const li = el("li"), line = el("span", "", { class: "swatch " + dashed });
  line.style.borderColor = colour;
  li.append(line, el("span", text));
  if (value) li.append(el("b", value));
  return li;
}

function ticks(low, high) {
  const rough = (high - low) / 4, size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(m => m * size).find(s => s >= rough), out = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9; v += step) out.push(Math.round(v / step) * step);
  return out;
}

class Strips {
  constructor(recording) {
    this.recording = recording;
    this.strips = recording.layers.map((layer, l) => {
      const block = el("div"), title = el("h3", layer.name), canvas = el("canvas");
      const count = (list, word) => list && list.length ? `${list.length} ${word}` : "";
      const grafted = (layer.grafts ?? []).map((n, i) => n ? i : -1).filter(i => i >= 0);
      const said = [count(layer.stagnant, "stagnant"), count(layer.dormant, "dormant"), count(grafted, "grafted")];
      title.append(el("span", [`${layer.width} ${layer.signed ? "recurrent units" : "ReLU neurons"}`, ...said].filter(Boolean).join(", ")));
      block.append(title, canvas);
      $("strips").append(block);
      const strip = { layer, l, canvas, grafted };
      canvas.onmousemove = e => tip(e, this.describe(strip, e));
      canvas.onmouseleave = () => tip(null, "");
      return strip;
    });
    const { stagnant, dormant } = recording.thresholds;
    const said = {
      stagnant: `stagnant: its gradient, relative to its weights, is below ${stagnant} of its layer's mean`,
      dormant: `dormant: its mean activity in these episodes is at most ${dormant} of its layer's mean`,
      grafted: "grafted: surgery has frozen it beside a fresh one",
    };
    for (const [name, text] of Object.entries(said)) {
      if (name === "grafted" && !recording.layers.some(l => l.grafts)) continue;
      const li = el("li"), canvas = el("canvas");
      li.append(canvas, el("span", text));
      $("marks").append(li);
      canvas.dataset.mark = name;
    }
  }

  draw(episode, t, followed) {
    this.episode = episode;
    this.t = Math.min(t, episode.length - 1);
    for (const canvas of $("marks").querySelectorAll("canvas")) mark(sheet(canvas, 18).pen, canvas.dataset.mark, 9, 9, 4.5);
    for (const strip of this.strips) this.drawStrip(strip, followed);
  }

  drawStrip(strip, followed) {
    const { layer, l, canvas, grafted } = strip, activity = this.episode.activity[l], n = activity.shape[1], w = layer.width;
    const rows = layer.measured ? [["stagnant", layer.stagnant], ["dormant", layer.dormant], ["grafted", grafted]].filter(r => r[1].length) : [];
    const each = n > 12 ? 9 : 14, head = rows.length * 11 + (rows.length ? 3 : 0);
    const { pen, width } = sheet(canvas, head + each * n + 2), left = layer.each_agent ? 62 : 0, cell = (width - left) / w;
    Object.assign(strip, { left, cell, head, each });
    rows.forEach(([name, list], k) => {
      for (const i of list) mark(pen, name, left + (i + .5) * cell, 5 + 11 * k, Math.min(4, Math.max(cell * .42, 1.5)));
    });
    const values = activity.at(this.t), { low, unit } = activity, far = Math.max(Math.abs(low), low + 255 * unit) || 1;
    pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle";
    for (let i = 0; i < n; i++) {
      const y = head + i * each;
      if (left) { pen.fillStyle = i === followed ? PAINT.ink : PAINT.soft; pen.fillText(this.recording.agents[i] ?? i, 0, y + each / 2); }
      for (let j = 0; j < w; j++) {
        const value = low + unit * values[i * w + j];
        pen.fillStyle = PAINT.ground;
        pen.fillRect(left + j * cell, y + 1, Math.max(cell - 1, .6), each - 2);
        pen.fillStyle = `rgba(${value < 0 ? PAINT.minus : PAINT.cell}, ${Math.sqrt(Math.abs(value) / far).toFixed(3)})`;
        pen.fillRect(left + j * cell, y + 1, Math.max(cell - 1, .6), each - 2);
      }
    }
  }

  describe({ layer, l, canvas, left, cell, head, each }, event) {
    const box = canvas.getBoundingClientRect(), j = Math.floor((event.clientX - box.left - left) / cell);
    if (j < 0 || j >= layer.width || !this.episode) return "";
    const activity = this.episode.activity[l], i = Math.floor((event.clientY - box.top - head) / each), lines = [`${layer.name}, neuron ${j + 1}`];
    if (i >= 0 && i < activity.shape[1]) {
      const value = activity.low + activity.unit * activity.at(this.t)[i * layer.width + j];
      lines.push((layer.each_agent ? `${this.recording.agents[i]}: ` : "") + `activity ${brief(value)}`);
    }
    if (!layer.measured) return lines.join("\n");
    const is = list => list.includes(j), { stagnant, dormant } = this.recording.thresholds;
    if (layer.update_activity[j] !== null) lines.push(`update activity ${brief(layer.update_activity[j])} of the layer's mean` + (is(layer.stagnant) ? `: stagnant, below ${stagnant}` : ""));
    lines.push(`mean activity ${brief(layer.activation[j])} of the layer's mean` + (is(layer.dormant) ? `: dormant, at most ${dormant}` : ""));
    if (layer.grafts?.[j]) lines.push(`grafted ${layer.grafts[j]} ${layer.grafts[j] > 1 ? "times" : "time"}`);
    return lines.join("\n");
  }
}
