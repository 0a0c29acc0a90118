// The player: which episode, which step, and how fast.

class Player {
  constructor(recording) {
    this.recording = recording;
    [this.number, this.position, this.playing, this.followed, this.last] = [0, 0, false, -1, 0];
    const follow = i => { this.followed = this.followed === i ? -1 : i; this.draw(); };
    this.stage = new Stage(recording);
    this.values = new Values(recording, follow);
    this.chart = new Chart(step => this.seek(step));
    this.strips = new Strips(recording);
    $("subtitle").textContent = recording.subtitle;
    $("note").textContent = recording.note;
    this.wins = recording.episodes.some(e => e.won);
    recording.episodes.forEach((e, k) => {
      const button = el("button", `episode ${k + 1}`, { role: "radio" });
      button.append(el("small", `return ${brief(e.return)}${this.outcome(e)}`));
      button.onclick = () => this.choose(k);
      $("episodes").append(button);
    });
    const longest = Math.max(...recording.episodes.map(e => e.length));
    for (const speed of [1, 2, 4, 8, 16, 32]) $("speed").append(el("option", `${speed}/s`, { value: speed }));
    $("speed").value = longest <= 2 ? 1 : 4;
    $("toggle").onclick = () => this.toggle();
    $("back").onclick = () => this.seek(Math.ceil(this.position) - 1);
    $("forward").onclick = () => this.seek(Math.floor(this.position) + 1);
    $("scrubber").oninput = e => this.seek(+e.target.value);
    document.addEventListener("keydown", e => this.key(e));
    const arena = $("arena");
    arena.onclick = e => { const b = this.stage.hit(e); if (b && b.body.team === "agent") follow(b.i); };
    arena.onmousemove = e => tip(e, this.stage.describe(this.stage.hit(e)));
    arena.onmouseleave = () => tip(null, "");
    new ResizeObserver(() => this.draw()).observe($("main"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { mixPaint(); this.legend(); this.draw(); });
    this.legend();
    this.choose(0);
  }

  get episode() { return this.recording.episodes[this.number]; }
  outcome(e) { return e.won ? ", won" : !e.whole ? ", broke off" : this.wins ? ", lost" : ""; }

  choose(k) {
    const n = this.recording.episodes.length;
    this.number = (k + n) % n;
    [...$("episodes").children].forEach((b, i) => b.setAttribute("aria-checked", i === this.number));
    $("scrubber").max = this.episode.length;
    this.seek(0, this.playing);
  }

  seek(step, playing = false) {
    this.position = Math.max(0, Math.min(this.episode.length, step));
    this.play(playing);
    this.draw();
  }

  toggle() {
    if (!this.playing && this.position >= this.episode.length) this.position = 0;
    this.play(!this.playing);
    if (!this.playing) this.seek(Math.floor(this.position));
  }

  play(on) {
    const begins = on && !this.playing;
    this.playing = on;
    $("toggle").textContent = on ? "❚❚" : "▶";
    $("toggle").setAttribute("aria-label", on ? "pause" : "play");
    if (begins) { this.last = performance.now(); requestAnimationFrame(now => this.frame(now)); }
  }

  frame(now) {
    if (!this.playing) return;
    this.position += Math.max(0, now - this.last) / 1000 * +$("speed").value;
    this.last = now;
    if (this.position >= this.episode.length) this.seek(this.episode.length);
    else { this.draw(); requestAnimationFrame(then => this.frame(then)); }
  }

  key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.tagName === "SELECT") return;
    const actions = {
      " ": () => this.toggle(), ArrowLeft: () => this.seek(Math.ceil(this.position) - 1), ArrowRight: () => this.seek(Math.floor(this.position) + 1),
      Home: () => this.seek(0), End: () => this.seek(this.episode.length), ArrowUp: () => this.choose(this.number - 1), ArrowDown: () => this.choose(this.number + 1),
    };
    if (!(event.key in actions)) return;
    event.preventDefault();
    if (document.activeElement?.tagName === "BUTTON") document.activeElement.blur();
    actions[event.key]();
  }

  draw() {
    const { episode } = this, step = Math.floor(this.position);
    this.stage.draw(episode, this.position, this.followed);
    const drawn = [episode, step, this.followed, innerWidth, PAINT.ink].join();
    if (drawn === this.drawn && this.playing) return;
    this.drawn = drawn;
    let collected = 0;
    for (let t = 0; t < step; t++) collected += episode.reward.at(t)[0];
    const over = step === episode.length, shown = over ? episode.return : collected;
    $("scrubber").value = step;
    $("scrubber").setAttribute("aria-valuetext", `step ${step} of ${episode.length}`);
    $("clock").textContent = `step ${step} of ${episode.length}`;
    $("score").replaceChildren("collected ", el("b", brief(shown)), ` of ${brief(episode.return)}${over ? this.outcome(episode) : ""}`);
    this.values.draw(episode, step, this.followed);
    this.chart.draw(episode, step);
    this.strips.draw(episode, step, this.followed);
  }

  legend() {
    const { stage } = this.recording, list = $("legend");
    list.replaceChildren();
    if (stage.type === "payoffs") list.append(el("li", "framed: what the agents choose"));
    if (stage.type !== "arena") return;
    const add = (text, paint) => {
      const li = el("li"), canvas = el("canvas");
      li.append(canvas, el("span", text));
      list.append(li);
      paint(sheet(canvas, 18).pen);
    };
    const dot = (colour, r, letter) => pen => {
      circle(pen, 9, 9, r); pen.fillStyle = colour; pen.fill(); pen.fillStyle = PAINT.panel;
      pen.font = "600 9px system-ui"; pen.textAlign = "center"; pen.textBaseline = "middle"; pen.fillText(letter, 9, 9.5);
    };
    const words = { agent: "agents", enemy: "enemies" }, shoots = stage.kinds.some(k => k.reload);
    if (shoots) for (const team of ["agent", "enemy"]) add(words[team], dot(PAINT[team], 7, ""));
    const seen = new Map();
    for (const e of this.recording.episodes) stage.bodies.forEach((b, i) => {
      const kind = e.scene.kind ? e.scene.kind.at(0)[i] : b.kind;
      seen.set(kind, b.team);
    });
    for (const [kind, team] of [...seen].sort((a, b) => a[0] - b[0])) {
      const { name } = stage.kinds[kind];
      add(name, dot(shoots ? PAINT.soft : PAINT[team], 7, shoots || team === "prey" ? LETTERS[name] ?? name[0] : team === "agent" ? "1" : ""));
    }
    const ring = (colour, dash) => pen => { pen.strokeStyle = colour; pen.lineWidth = 2; pen.setLineDash(dash); circle(pen, 9, 9, 6.5); pen.stroke(); };
    const line = (colour, dash, width) => pen => { pen.strokeStyle = colour; pen.lineWidth = width; pen.setLineDash(dash); pen.beginPath(); pen.moveTo(1, 9); pen.lineTo(17, 9); pen.stroke(); };
    if (stage.kinds.some(k => k.health)) add("health", ring(PAINT.health, []));
    if (shoots) { add("until the next shot", ring(PAINT.cooldown, [])); add("shot", line(PAINT.ink, [], 2.2)); add("ordered to attack", line(PAINT.ink, [3, 3], 1)); }
    if (stage.kinds.some(k => k.sight)) add("sight", ring(PAINT.soft, [2, 3]));
    if (this.recording.episodes[0].scene.vx) { add("velocity", pen => this.stage.arrow(pen, 2, 9, 16, 9, PAINT.soft)); add("catch", line(PAINT.agent, [], 2.2)); }
    if (this.recording.actions.includes("catch")) { add("tries to catch", ring(PAINT.agent, [3, 3])); add("leaves the grid", pen => { this.stage.where = [x => x, y => y]; this.stage.drawLeft(pen, { body: { team: "prey" }, lastX: 9, lastY: 9 }); }); }
  }
}

mixPaint();
unpack($("recording").textContent).then(recording => {
  $("main").hidden = false;
  window.player = new Player(recording);
}).catch(error => {
  document.body.append(el("p", `The recording cannot be shown: ${error.message}`, { class: "problem" }));
  throw error;
});
