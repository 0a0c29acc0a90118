// What happens: an arena of bodies, a table of payoffs, or what is observed.

const LETTERS = { marine: "m", marauder: "M", stalker: "S", zealot: "Z", zergling: "z", hydralisk: "H", stag: "S", hare: "h" };

class Stage {
  constructor(recording) {
    this.recording = recording;
    this.stage = recording.stage;
    this.canvas = $("arena");
    this.seen = [];
  }

  // The rectangle that is drawn: all that bodies reach in this episode, no less than a third of the arena.
  window(episode) {
    const { left, bottom, right, top, cells } = this.stage;
    if (cells) return [left, bottom, right, top];
    const box = [Infinity, Infinity, -Infinity, -Infinity], { x, y, present } = episode.scene;
    for (let t = 0; t <= episode.length; t++) x.at(t).forEach((at, i) => {
      if (present && !present.at(t)[i]) return;
      const up = y.at(t)[i];
      [box[0], box[1]] = [Math.min(box[0], at), Math.min(box[1], up)];
      [box[2], box[3]] = [Math.max(box[2], at), Math.max(box[3], up)];
    });
    const wide = right - left, room = wide * .07;
    const side = Math.max(box[2] - box[0] + 2 * room, box[3] - box[1] + 2 * room, wide / 3);
    const [x0, y0] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    return [x0 - side / 2, y0 - side / 2, x0 + side / 2, y0 + side / 2];
  }

  draw(episode, position, followed) {
    if (this.stage.type === "arena") this.drawArena(episode, position, followed);
    else if (this.stage.type === "payoffs") this.drawPayoffs(episode, Math.floor(position));
    else this.drawObservations(episode, Math.floor(position));
  }

  drawArena(episode, position, followed) {
    const side = Math.min(this.canvas.parentElement.clientWidth, 640);
    const { cells, left, bottom, right, top } = this.stage;
    const { pen, width, height } = sheet(this.canvas, cells ? Math.min(side, side * (top - bottom) / (right - left)) : side);
    if (this.of !== episode) [this.of, this.box] = [episode, this.window(episode)];
    const [x0, y0, x1, y1] = this.box, scale = Math.min(width / (x1 - x0), height / (y1 - y0));
    const px = x => width / 2 + (x - (x0 + x1) / 2) * scale, py = y => height / 2 - (y - (y0 + y1) / 2) * scale;
    const before = Math.floor(position), part = position - before, after = Math.min(before + 1, episode.length);
    const now = part > 0 ? after : before;
    this.drawGround(pen, px, py, scale);
    const { scene } = episode, bodies = this.bodies(scene, before, after, part, now);
    const least = this.stage.cells ? 0 : Math.max(6, Math.min(9, width / 60));
    this.seen = bodies.map(b => ({ ...b, px: px(b.x), py: py(b.y), pr: Math.max(b.kind.radius * scale, b.body.team === "obstacle" ? 0 : least) }));
    const drawn = this.seen.filter(b => b.present);
    for (const b of drawn) if (b.alive) this.drawReach(pen, b, scale, followed);
    for (const b of drawn) if (b.target >= 0) this.drawShot(pen, b, this.seen[b.target], now, episode);
    for (const b of drawn) if (!b.alive) this.drawDead(pen, b);
    for (const team of ["obstacle", "prey", "enemy", "agent"])
      for (const b of drawn) if (b.alive && b.body.team === team) this.drawBody(pen, b, scale, followed);
    for (const b of this.seen) if (b.left) this.drawLeft(pen, b);
    if (this.stage.cells) this.drawOrders(pen, episode, before);
  }

  bodies(scene, before, after, part, now) {
    const at = (name, t, i, none) => scene[name] ? scene[name].at(t)[i] : none;
    const between = (name, i) => {
      const a = at(name, before, i, 0), b = at(name, after, i, 0);
      const stays = at("present", before, i, 1) && at("present", after, i, 1);
      return part > 0 && stays ? a + (b - a) * part : a;
    };
    return this.stage.bodies.map((body, i) => {
      const kind = this.stage.kinds[at("kind", now, i, body.kind)], health = at("health", now, i, null);
      const here = at("present", before, i, 1) && (part < .5 || at("present", after, i, 1));
      const gone = now > 0 && at("present", now - 1, i, 1) && !at("present", now, i, 1);
      return {
        i, body, kind, health, alive: here && (health === null || health > 0), present: here,
        cooldown: at("cooldown", now, i, 0), x: between("x", i), y: between("y", i),
        vx: at("vx", now, i, 0), vy: at("vy", now, i, 0),
        fired: now > 0 && at("cooldown", now, i, 0) > at("cooldown", now - 1, i, 0),
        target: at("target", now, i, -1), left: gone && (part === 0 || part >= .5),
        lastX: now > 0 ? at("x", now - 1, i, 0) : 0, lastY: now > 0 ? at("y", now - 1, i, 0) : 0,
      };
    });
  }

  drawGround(pen, px, py, scale) {
    const { left, bottom, right, top, cells } = this.stage;
    this.where = [px, py];
    pen.lineWidth = 1;
    pen.strokeStyle = PAINT.line;
    const step = cells ? 1 : (right - left) / 16;
    pen.beginPath();
    for (let x = left; x <= right + 1e-6; x += step) { pen.moveTo(px(x), py(bottom)); pen.lineTo(px(x), py(top)); }
    for (let y = bottom; y <= top + 1e-6; y += step) { pen.moveTo(px(left), py(y)); pen.lineTo(px(right), py(y)); }
    pen.stroke();
    pen.strokeStyle = PAINT.soft;
    pen.strokeRect(px(left), py(top), (right - left) * scale, (top - bottom) * scale);
  }

  drawReach(pen, b, scale, followed) {
    const mine = b.i === followed, { sight, reach } = b.kind;
    if (b.body.team !== "agent" && !mine) return;
    pen.strokeStyle = pen.fillStyle = PAINT[b.body.team];
    pen.lineWidth = 1;
    if (sight && (mine || (!this.stage.cells && this.stage.bodies.length < 30 && sight < (this.stage.right - this.stage.left) / 2))) {
      pen.globalAlpha = mine ? .09 : 0;
      if (this.stage.cells) { pen.beginPath(); pen.rect(b.px - sight * scale, b.py - sight * scale, 2 * sight * scale, 2 * sight * scale); }
      else circle(pen, b.px, b.py, sight * scale);
      pen.fill();
      pen.globalAlpha = mine ? .8 : .28;
      pen.setLineDash([2, 4]); pen.stroke(); pen.setLineDash([]);
    }
    if (reach && mine) { pen.globalAlpha = .8; circle(pen, b.px, b.py, reach * scale); pen.stroke(); }
    pen.globalAlpha = 1;
  }

  drawShot(pen, b, other, now, episode) {
    const wasAlive = b.health === null || (now > 0 && episode.scene.health.at(now - 1)[b.i] > 0);
    if (!wasAlive) return;
    const shot = b.health === null || b.fired;
    pen.strokeStyle = PAINT[b.body.team];
    pen.globalAlpha = shot ? .95 : .35;
    pen.lineWidth = shot ? 2.2 : 1;
    pen.setLineDash(shot ? [] : [3, 4]);
    pen.beginPath(); pen.moveTo(b.px, b.py); pen.lineTo(other.px, other.py); pen.stroke();
    pen.setLineDash([]);
    if (shot) { circle(pen, other.px, other.py, other.pr + 4); pen.globalAlpha = .3; pen.lineWidth = 5; pen.stroke(); }
    pen.globalAlpha = 1;
  }

  drawDead(pen, b) {
    const r = b.pr * .55;
    pen.globalAlpha = .55; pen.strokeStyle = PAINT[b.body.team]; pen.lineWidth = 2;
    pen.beginPath(); pen.moveTo(b.px - r, b.py - r); pen.lineTo(b.px + r, b.py + r);
    pen.moveTo(b.px + r, b.py - r); pen.lineTo(b.px - r, b.py + r); pen.stroke();
    pen.globalAlpha = 1;
  }

  drawBody(pen, b, scale, followed) {
    const { px: x, py: y, pr: r, kind } = b;
    if (b.i === followed) { circle(pen, x, y, r + 10); pen.strokeStyle = PAINT.ink; pen.lineWidth = 1.5; pen.stroke(); }
    pen.fillStyle = PAINT[b.body.team];
    circle(pen, x, y, r); pen.fill();
    if (kind.health) {
      pen.lineWidth = 3;
      circle(pen, x, y, r + 3); pen.strokeStyle = PAINT.line; pen.stroke();
      this.arc(pen, x, y, r + 3, b.health / kind.health, PAINT.health);
    }
    if (kind.reload && b.cooldown > 0) { pen.lineWidth = 2; this.arc(pen, x, y, r + 7, b.cooldown / kind.reload, PAINT.cooldown); }
    const speed = Math.hypot(b.vx, b.vy);
    if (speed > .02) this.arrow(pen, x, y, x + b.vx * scale * .25, y - b.vy * scale * .25, PAINT[b.body.team]);
    if (b.body.team === "obstacle" || r < 6) return;
    pen.fillStyle = PAINT.panel;
    pen.font = `600 ${Math.min(r * 1.15, 15)}px system-ui, sans-serif`;
    pen.textAlign = "center"; pen.textBaseline = "middle";
    pen.fillText(b.body.team === "agent" && !kind.health ? b.i + 1 : LETTERS[kind.name] ?? kind.name[0], x, y + .5);
    if (kind.health) {
      pen.fillStyle = PAINT.soft; pen.font = "10px system-ui, sans-serif";
      pen.fillText(b.body.name.replace(/\D+/g, ""), x + r + 10, y - r - 4);
    }
  }

  drawLeft(pen, b) { // caught, or gone with what it has caught
    const [px, py] = this.where, x = px(b.lastX), y = py(b.lastY), r = 9;
    pen.strokeStyle = PAINT[b.body.team]; pen.lineWidth = 2;
    pen.beginPath();
    for (let k = 0; k < 8; k++) {
      const [dx, dy] = [Math.cos(k * Math.PI / 4), Math.sin(k * Math.PI / 4)];
      pen.moveTo(x + dx * r * .5, y + dy * r * .5); pen.lineTo(x + dx * r * 1.4, y + dy * r * 1.4);
    }
    pen.stroke();
  }

  drawOrders(pen, episode, t) {
    if (t >= episode.length) return;
    const actions = episode.action.at(t);
    pen.font = "10px system-ui, sans-serif"; pen.fillStyle = PAINT.ink; pen.textAlign = "center"; pen.textBaseline = "top";
    for (const b of this.seen) if (b.alive && b.body.team === "agent" && this.recording.actions[actions[b.i]] === "catch") {
      circle(pen, b.px, b.py, b.pr + 4); pen.strokeStyle = PAINT.agent; pen.lineWidth = 1.5; pen.setLineDash([3, 3]); pen.stroke(); pen.setLineDash([]);
    }
  }

  arc(pen, x, y, r, part, colour) {
    pen.beginPath();
    pen.arc(x, y, r, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * Math.min(Math.max(part, 0), 1));
    pen.strokeStyle = colour; pen.stroke();
  }

  arrow(pen, x, y, toX, toY, colour) {
    const turn = Math.atan2(toY - y, toX - x);
    pen.strokeStyle = colour; pen.lineWidth = 1.6;
    pen.beginPath(); pen.moveTo(x, y); pen.lineTo(toX, toY);
    for (const side of [2.6, -2.6]) { pen.moveTo(toX, toY); pen.lineTo(toX + 6 * Math.cos(turn + side), toY + 6 * Math.sin(turn + side)); }
    pen.stroke();
  }

  drawPayoffs(episode, t) {
    const step = Math.min(t, episode.length - 1), payoff = episode.scene.payoff.at(step), n = Math.sqrt(payoff.length);
    const side = Math.min(this.canvas.parentElement.clientWidth, 520);
    const { pen, width } = sheet(this.canvas, side), [low, high] = [Math.min(...payoff), Math.max(...payoff)];
    const size = (side - 96) / n, left = (width - size * n) / 2 + 18, top = 64, far = Math.max(Math.abs(low), Math.abs(high)) || 1;
    const [row, column] = episode.action.at(step), { agents, actions } = this.recording;
    pen.textAlign = "center"; pen.textBaseline = "middle";
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
      const value = payoff[i * n + j], [x, y] = [left + j * size, top + i * size];
      pen.fillStyle = `rgba(${value < 0 ? PAINT.minus : PAINT.cell}, ${.06 + .5 * Math.abs(value) / far})`;
      pen.fillRect(x + 1, y + 1, size - 2, size - 2);
      if (size > 26) {
        pen.fillStyle = PAINT.ink; pen.font = `${i === row && j === column ? 700 : 400} ${Math.min(size / 3.4, 22)}px system-ui, sans-serif`;
        pen.fillText(brief(value), x + size / 2, y + size / 2 + 1);
        if (value === high) { pen.font = "11px system-ui, sans-serif"; pen.fillStyle = PAINT.soft; pen.fillText("best", x + size / 2, y + size - 11); }
      }
    }
    pen.fillStyle = PAINT.soft; pen.font = "12px system-ui, sans-serif";
    pen.fillText(`${agents[1]} chooses the column`, left + size * n / 2, 22);
    if (size > 14) for (let k = 0; k < n; k++) { pen.fillText(actions[k], left + (k + .5) * size, 48); pen.fillText(actions[k], left - 16, top + (k + .5) * size); }
    pen.save(); pen.translate(left - 42, top + size * n / 2); pen.rotate(-Math.PI / 2); pen.fillText(`${agents[0]} chooses the row`, 0, 0); pen.restore();
    pen.lineWidth = 3; pen.strokeStyle = PAINT.ink;
    pen.strokeRect(left + column * size + 1.5, top + row * size + 1.5, size - 3, size - 3);
  }

  drawObservations(episode, t) {
    const { obs, state } = episode.scene, rows = this.recording.agents.length;
    const wide = this.canvas.parentElement.clientWidth, step = Math.max(10, Math.min(26, 320 / rows));
    const { pen, width } = sheet(this.canvas, step * rows + 100), room = 74;
    const strip = (values, { low, unit }, top, n, label) => {
      const cell = (width - room - 10) / (values.length / n);
      pen.font = "11px system-ui, sans-serif"; pen.textBaseline = "middle"; pen.textAlign = "left";
      for (let i = 0; i < n; i++) {
        pen.fillStyle = PAINT.soft; pen.fillText(label(i), 8, top + (i + .5) * step);
        for (let j = 0; j < values.length / n; j++) {
          const value = low + unit * values[i * (values.length / n) + j], far = Math.max(Math.abs(low), Math.abs(low + 255 * unit)) || 1;
          pen.fillStyle = `rgba(${value < 0 ? PAINT.minus : PAINT.cell}, ${Math.abs(value) / far})`;
          pen.fillRect(room + j * cell, top + i * step + 1, Math.max(cell - .5, .5), step - 2);
        }
      }
    };
    pen.fillStyle = PAINT.ink; pen.font = "600 12px system-ui, sans-serif"; pen.textBaseline = "middle";
    pen.fillText("what the agents observe", 8, 14);
    strip(obs.at(t), obs, 26, rows, i => this.recording.agents[i]);
    pen.fillStyle = PAINT.ink; pen.font = "600 12px system-ui, sans-serif";
    pen.fillText("global state", 8, step * rows + 46);
    strip(state.at(t), state, step * rows + 58, 1, () => "");
  }

  hit(event) {
    const box = this.canvas.getBoundingClientRect(), [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const near = this.seen.filter(b => b.present && Math.hypot(b.px - x, b.py - y) < b.pr + 8);
    return near.sort((a, b) => Math.hypot(a.px - x, a.py - y) - Math.hypot(b.px - x, b.py - y))[0];
  }

  describe(b) {
    if (!b) return "";
    const lines = [b.kind.name === b.body.name.replace(/ \d+$/, "") ? b.body.name : `${b.body.name}: ${b.kind.name}`];
    if (b.kind.health) lines.push(b.alive ? `health ${brief(b.health)} of ${brief(b.kind.health)}` : "dead");
    if (b.kind.reload && b.alive) lines.push(b.cooldown > 0 ? `weapon ready in ${brief(b.cooldown)} s` : "weapon ready");
    return lines.join("\n");
  }
}
