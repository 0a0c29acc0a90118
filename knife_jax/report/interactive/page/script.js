"use strict";
(() => {
  const panels = JSON.parse(document.getElementById("plots").textContent);
  const hidden = new Set();
  const roles = { seed: true, band: true };
  const drawn = new Map();
  const config = { displaylogo: false, responsive: true, displayModeBar: matchMedia("(hover: hover)").matches && "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: "#3a4049" };
  const axis = { gridcolor: "#eceef1", linecolor: "#b8bcc4", zeroline: false, ticks: "outside", ticklen: 4,
    tickcolor: "#b8bcc4", automargin: true };

  const visible = ({ meta }) => !hidden.has(meta.method) && roles[meta.role] !== false;

  function layoutOf({ data, layout }) {
    const rug = data.filter((trace) => trace.yaxis === "y2");
    const rows = rug.length ? Math.min(0.16, 0.03 + 0.03 * rug.length) : 0;
    const over = layout.xaxis ? {} : { title: { text: "env steps per seed", standoff: 6 }, tickformat: "~s", rangemode: "tozero" };
    const out = { font, paper_bgcolor: "#fff", plot_bgcolor: "#fff", showlegend: false, hovermode: "closest",
      margin: { l: 46, r: 12, t: 8, b: 42 }, hoverlabel: { font: { family: font.family, size: 12 } }, ...layout,
      xaxis: { ...axis, ...over, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis, domain: [rows, 1] } };
    if (rug.length) {
      out.xaxis.anchor = "free"; out.xaxis.position = 0;
      out.yaxis2 = { domain: [0, rows - 0.02], visible: false, fixedrange: true, range: [0.6 - panelRows(rug), 0.4] };
    }
    return out;
  }
  const panelRows = (rug) => 1 - Math.min(...rug.map((trace) => Math.min(...trace.y)));

  function draw(place) {
    if (drawn.has(place)) return;
    const panel = panels[place.dataset.plot];
    const data = panel.data.map((trace) => ({ ...trace, visible: visible(trace) }));
    Plotly.newPlot(place, data, layoutOf(panel), config);
    drawn.set(place, panel);
  }

  function refresh() {
    for (const [place, panel] of drawn)
      Plotly.restyle(place, { visible: panel.data.map(visible) });
  }

  const has = (role) => panels.some(({ data }) => data.some(({ meta }) => meta.role === role));
  for (const box of document.querySelectorAll("[data-role]")) box.parentElement.hidden = !has(box.dataset.role);
  const useful = document.querySelectorAll(".method").length > 1 || has("seed") || has("band");
  document.querySelector(".bar").hidden = !useful;

  const places = [...document.querySelectorAll(".plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) { draw(target); watcher.unobserve(target); }
  }, { rootMargin: "300px" });
  places.forEach((place) => watcher.observe(place));

  for (const button of document.querySelectorAll(".method"))
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", shown);
      if (shown) hidden.delete(button.dataset.method); else hidden.add(button.dataset.method);
      refresh();
    });
  for (const box of document.querySelectorAll("[data-role]"))
    box.addEventListener("change", () => { roles[box.dataset.role] = box.checked; refresh(); });

  for (const select of document.querySelectorAll(".choice select"))
    select.addEventListener("change", () => {
      const groups = select.closest("figure").querySelectorAll(".group");
      groups.forEach((group, i) => { group.hidden = i !== select.selectedIndex; });
      groups[select.selectedIndex].querySelectorAll(".plot").forEach((place) => {
        draw(place); Plotly.Plots.resize(place);
      });
    });

  const frames = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries)
      if (isIntersecting) {
        target.srcdoc = JSON.parse(target.nextElementSibling.textContent);
        frames.unobserve(target);
      }
  }, { rootMargin: "200px" });
  document.querySelectorAll("iframe").forEach((frame) => frames.observe(frame));

  const paper = matchMedia("print");
  function resize() {
    for (const [place] of drawn) if (place.clientWidth) Plotly.relayout(place, { width: place.clientWidth });
  }
  addEventListener("beforeprint", () => { places.forEach(draw); });
  paper.addEventListener("change", () => { if (paper.matches) resize(); });
  addEventListener("afterprint", () => { for (const [place] of drawn) Plotly.relayout(place, { autosize: true }); });
})();
