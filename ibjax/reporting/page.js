"use strict";
// The report's program: fills Bokeh's plots from the page's data, and answers slider, keys, switches and theme.
//
// Shapes: S seeds, E logged epochs, L layers; arrays of (S, E, L) and (E, L) are flat, in the order of C.
// All words of files are set as text, never as HTML.

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const SHAPES = { // in a box of 16, as the plots' markers
    "o": "M8 2.5a5.5 5.5 0 1 0 .001 0z", "s": "M3 3h10v10H3z", "^": "M8 2l6.5 11.5h-13z", "D": "M8 1.5l5 6.5-5 6.5-5-6.5z",
    "v": "M8 14L1.5 2.5h13z", "P": "M6 1.5h4V6h4.500v4H10v4.500H6V10H1.500V6H6z",
    "X": "M5 1.500L8 4.500l3-3L14.500 5l-3 3 3 3L11 14.500l-3-3-3 3L1.500 11l3-3-3-3z",
    "*": "M8 .8l2.100 4.900 5.300.500-4 3.500 1.200 5.200L8 12.200l-4.600 2.700 1.200-5.200-4-3.500 5.300-.500z",
  };
  const state = { place: 0, playing: null, estimator: 0, theme: null, chosen: false,
                  show: { seeds: true, mean: true, path: true, curve: true } };
  const names = [...new Set(data.contents.flatMap((file) => file.estimators.map((each) => each.name)))];
  const epochs = [...new Set(data.contents.flatMap((file) => file.epochs))].sort((a, b) => a - b);
  const slider = document.getElementById("epoch");
  const play = document.getElementById("play");
  const select = document.getElementById("estimator");

  function numbers(text) {
    const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
    return new Float32Array(bytes.buffer);
  }

  function nearest(sorted, value) { // the earlier of two equally near ones
    let best = 0;
    sorted.forEach((each, k) => { if (Math.abs(each - value) < Math.abs(sorted[best] - value)) best = k; });
    return best;
  }

  class Run {
    constructor(file, place) {
      this.file = file;
      this.place = place;
      this.on = file.diverged.map((lost) => !lost);
      this.plots = {};
      this.held = new Map();
      this.articles = [...document.querySelectorAll(`article[data-file="${place}"]`)];
      this.lacks = this.one("[data-lacks]");
      this.caption = this.one('[data-caption="plane"]');
    }

    one(selector) {
      return this.articles.map((each) => each.querySelector(selector)).find((each) => each);
    }

    get estimator() {
      return this.file.estimators.find((each) => each.name === names[state.estimator]);
    }

    informations() { // (S, E, L) both, unpacked when first shown
      const { name, i_xt, i_ty } = this.estimator;
      if (!this.held.has(name)) this.held.set(name, [numbers(i_xt), numbers(i_ty)]);
      return this.held.get(name);
    }

    means() { // (E, L) both, over the networks that are on
      if (this.averaged) return this.averaged;
      const [S, E, L] = [this.file.seeds.length, this.file.epochs.length, this.file.layers.length];
      const on = [...Array(S).keys()].filter((s) => this.on[s]);
      this.averaged = this.informations().map((values) => {
        const sums = new Float64Array(E * L);
        for (const s of on) for (let k = 0; k < E * L; k++) sums[k] += values[s * E * L + k];
        return sums.map((sum) => (on.length ? sum / on.length : NaN));
      });
      return this.averaged;
    }

    source(panel, name) {
      return this.plots[panel].document.get_model_by_name(name);
    }

    draw() { // what changes with the epoch shown
      const file = this.file;
      const e = nearest(file.epochs, epochs[state.place]);
      for (const panel of Object.keys(this.plots)) {
        const now = this.source(panel, "now");
        if (now) now.location = file.places[e];
      }
      const lacking = !this.estimator;
      this.lacks.hidden = !lacking;
      this.lacks.textContent = lacking ? `This file holds no ${names[state.estimator]}.` : "";
      this.drawPlane(e, lacking);
      this.drawTable(e, lacking);
      const on = this.on.filter(Boolean).length;
      const lost = file.diverged.filter(Boolean).length;
      const what = lacking ? "" : this.estimator.what;
      this.caption.textContent = `epoch ${file.epochs[e].toLocaleString("en")}; ` +
        `${on} of ${file.seeds.length} networks${lost ? `, ${lost} diverged left out` : ""}; ` +
        `${names[state.estimator]}${what ? ` (${what})` : ""}`;
    }

    drawPlane(e, lacking) {
      const file = this.file;
      const [E, L] = [file.epochs.length, file.layers.length];
      const [xs, ys] = lacking ? [[], []] : this.informations();
      const [mx, my] = lacking ? [[], []] : this.means();
      const on = [...Array(file.seeds.length).keys()].filter((s) => this.on[s]);
      const none = { x: [], y: [], seed: [], layer: [], epoch: [] };
      file.layers.forEach((layer, k) => {
        const at = (s) => (s * E + e) * L + k;
        const several = on.length > 1 ? `mean of ${on.length}` : on.length ? String(file.seeds[on[0]]) : "";
        this.source("plane", `seeds:${k}`).data = lacking || !state.show.seeds ? none : {
          x: on.map((s) => xs[at(s)]), y: on.map((s) => ys[at(s)]), seed: on.map((s) => String(file.seeds[s])),
          layer: on.map(() => layer.name), epoch: on.map(() => String(file.epochs[e])),
        };
        this.source("plane", `mean:${k}`).data = lacking || !state.show.mean || !on.length ? none : {
          x: [mx[e * L + k]], y: [my[e * L + k]], seed: [several], layer: [layer.name], epoch: [String(file.epochs[e])],
        };
        const past = lacking || !state.show.path ? [] : [...Array(e + 1).keys()];
        this.source("plane", `path:${k}`).data = { x: past.map((t) => mx[t * L + k]), y: past.map((t) => my[t * L + k]) };
      });
      const curve = this.source("plane", "curve");
      if (curve) curve.visible = state.show.curve;
    }

    drawTable(e, lacking) {
      const L = this.file.layers.length;
      const [mx, my] = lacking ? [[], []] : this.means();
      const table = this.one("table.numbers");
      table.querySelectorAll("tbody tr").forEach((row, k) => {
        const [x, y] = [mx[e * L + k], my[e * L + k]];
        const set = (name, value) => {
          const cell = row.querySelector(`.${name}`);
          if (cell) cell.textContent = Number.isFinite(value) ? value.toFixed(4).replace(/^-(0\.0+)$/, "$1") : "–";
        };
        set("i_xt", x);
        set("i_ty", y);
        set("gap", this.file.curve ? this.below(x) - y : NaN);
      });
    }

    below(x) { // the information curve at x bits
      const { x: xs, y: ys } = this.file.curve;
      if (!(x >= 0)) return NaN;
      const k = xs.findIndex((each) => each >= x);
      if (k < 0) return ys[ys.length - 1];
      if (k === 0) return ys[0];
      return ys[k - 1] + (ys[k] - ys[k - 1]) * (x - xs[k - 1]) / (xs[k] - xs[k - 1]);
    }

    chooseEstimator() { // what changes with the estimator
      this.averaged = null;
      const estimator = this.estimator;
      const count = this.file.diverged.filter((lost) => !lost).length;
      this.one('[data-caption="means"]').textContent = estimator
        ? `${count === 1 ? "One network" : `Means over ${count} networks`} by ${estimator.name}; ` +
          `${count > 1 ? "95% bands" : "no interval"}.` : this.lacks.textContent;
      for (const quantity of ["i_xt", "i_ty"]) {
        const series = estimator ? estimator.over_epochs[quantity] : null;
        this.file.layers.forEach((layer, k) => this.fill(quantity, `${quantity}:${k}`, series, layer.name, k));
      }
      if (!estimator) return;
      // Files side by side have the same axes.
      const all = runs.map((run) => run.estimator).filter((each) => each);
      const shared = (key) => [Math.min(...all.map((each) => each[key][0])), Math.max(...all.map((each) => each[key][1]))];
      const { plane, i_xt, i_ty } = this.plots;
      for (const [range, key] of [[plane.x_range, "range_x"], [plane.y_range, "range_y"],
                                  [i_xt.y_range, "range_x"], [i_ty.y_range, "range_y"]]) {
        [range.start, range.end] = shared(key);
        [range.reset_start, range.reset_end] = shared(key);
      }
    }

    fill(panel, name, series, what, layer) { // a line and its band; layer: the column of (E, L), or null for (E,)
      const { epochs: all, places, layers } = this.file;
      const L = layer === null ? 1 : layers.length;
      const column = (key) => {
        const values = this.unpacked(series, key);
        return all.map((_, e) => values[e * L + (layer || 0)]);
      };
      const none = { x: [], y: [], low: [], high: [], epoch: [], what: [] };
      this.source(panel, name).data = !series ? none : {
        x: places, y: column("mean"), low: column("low"), high: column("high"), epoch: all.map(String),
        what: all.map(() => what),
      };
      if (layer === null) return;
      const step = Math.max(1, Math.floor(all.length / 6));
      const first = Math.floor(layer * step / L); // so that markers of neighbours stand apart
      const marked = all.map((_, e) => e).filter((e) => e >= first && (e - first) % step === 0);
      const means = series ? column("mean") : [];
      this.source(panel, `marks ${name}`).data = !series ? { x: [], y: [] } :
        { x: marked.map((e) => places[e]), y: marked.map((e) => means[e]) };
    }

    unpacked(series, key) {
      series.unpacked ??= {};
      return (series.unpacked[key] ??= numbers(series[key]));
    }

    fillOthers() { // what never changes
      const { gradients, layers } = this.file;
      for (const key of gradients ? ["mean", "std"] : []) {
        layers.forEach((layer, k) => this.fill("gradients", `${key}:${k}`, gradients[key], `${layer.name}, ${key}`, k));
      }
      for (const key of ["loss", "accuracy"]) {
        for (const [part, series] of Object.entries(this.file[key].parts)) {
          this.fill(key, `${key}:${part}`, series, `${part} ${key}`, null);
        }
      }
    }

    makeChips() {
      const home = this.one(".chips");
      this.file.seeds.forEach((seed, s) => {
        const label = document.createElement("label");
        const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: this.on[s] });
        box.dataset.seed = s;
        box.disabled = this.file.diverged[s];
        if (box.disabled) Object.assign(label, { className: "lost", title: "diverged" });
        box.addEventListener("change", () => this.switchSeeds((k) => (k === s ? box.checked : this.on[k])));
        label.append(box, String(seed));
        home.append(label);
      });
      this.articles.flatMap((each) => [...each.querySelectorAll("[data-all]")]).forEach((button) =>
        button.addEventListener("click", () => {
          this.switchSeeds(() => button.dataset.all === "1");
          home.querySelectorAll("input").forEach((box, s) => { box.checked = this.on[s]; });
        }));
    }

    switchSeeds(wanted) {
      this.on = this.on.map((_, s) => wanted(s) && !this.file.diverged[s]);
      this.averaged = null;
      this.draw();
    }

    paint(colours) {
      this.articles.forEach((article) => article.querySelectorAll(".mark").forEach((mark) => {
        const layer = this.file.layers[Number(mark.dataset.layer)];
        const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
        svg.setAttribute("viewBox", "0 0 16 16");
        svg.setAttribute("aria-hidden", "true");
        path.setAttribute("d", SHAPES[layer.marker]);
        path.setAttribute("fill", layer[state.theme]);
        svg.append(path);
        mark.replaceChildren(svg);
      }));
      Object.values(this.plots).forEach((plot) => this.paintPlot(plot, colours));
    }

    paintPlot(plot, colours) {
      plot.setv({ background_fill_color: colours.page, border_fill_color: colours.page, outline_line_color: colours.line });
      for (const model of plot.document._all_models.values()) {
        if (/Axis$/.test(model.type)) {
          model.setv({ axis_label_text_color: colours.ink, major_label_text_color: colours.ink,
                       axis_line_color: colours.muted, major_tick_line_color: colours.muted });
        } else if (model.type === "Grid") {
          model.grid_line_color = colours.line;
        } else if (model.type === "GlyphRenderer") {
          this.paintGlyph(model, colours);
        } else if (model.tags && model.tags.length) {
          const colour = this.colourOf(model.tags[0], colours);
          if (model.type === "Span") model.line_color = colour;
          if (model.type === "BoxAnnotation") model.fill_color = colour;
        }
      }
    }

    paintGlyph(renderer, colours) {
      const tags = renderer.glyph.tags; // Bokeh gives a plot's tags to its glyph
      const colour = this.colourOf(tags[0], colours);
      for (const glyph of [renderer.glyph, renderer.nonselection_glyph, renderer.muted_glyph]) {
        if (!glyph || !glyph.properties) continue;
        const outlined = tags.includes("outlined");
        if ("line_color" in glyph.properties) glyph.line_color = outlined ? colours.page : colour;
        if ("fill_color" in glyph.properties) glyph.fill_color = colour;
      }
    }

    colourOf(tag, colours) {
      return tag.startsWith("layer:") ? this.file.layers[Number(tag.slice(6))][state.theme] : colours[tag];
    }
  }

  const runs = data.contents.map((file, place) => new Run(file, place));

  function paint() {
    document.documentElement.dataset.theme = state.theme;
    document.getElementById("theme").textContent = state.theme === "dark" ? "☀ Light" : "☾ Dark";
    const style = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(
      ["page", "ink", "line", "muted", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
    runs.forEach((run) => run.paint(colours));
  }

  function show(place) {
    state.place = Math.max(0, Math.min(epochs.length - 1, place));
    slider.value = state.place;
    const text = `epoch ${epochs[state.place].toLocaleString("en")}`;
    document.getElementById("shown").textContent = text;
    slider.setAttribute("aria-valuetext", text);
    runs.forEach((run) => run.draw());
  }

  function halt() {
    clearInterval(state.playing);
    state.playing = null;
    play.textContent = "▶ Play";
    play.setAttribute("aria-pressed", "false");
  }

  function toggle() { // all epochs in about twelve seconds, ten to thirty a second
    if (state.playing !== null) { halt(); return; }
    if (state.place === epochs.length - 1) show(0);
    play.textContent = "❚❚ Stop";
    play.setAttribute("aria-pressed", "true");
    state.playing = setInterval(() => {
      if (state.place === epochs.length - 1) halt(); else show(state.place + 1);
    }, Math.max(33, Math.min(100, 12000 / epochs.length)));
  }

  function listen() {
    slider.addEventListener("input", () => { halt(); show(Number(slider.value)); });
    play.addEventListener("click", toggle);
    document.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const at = event.target;
      const own = at !== slider && at.closest && at.closest("button, select, summary, input, a, textarea");
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageDown: -10, PageUp: 10 };
      if (event.key === " " && !own) {
        event.preventDefault();
        toggle();
      } else if (event.key in steps && at !== slider && !(own && own.matches("select")) && event.key.startsWith("Arrow")) {
        event.preventDefault();
        halt();
        show(state.place + steps[event.key]);
      }
    });
    document.querySelectorAll("[data-show]").forEach((box) => box.addEventListener("change", () => {
      state.show[box.dataset.show] = box.checked;
      runs.forEach((run) => run.draw());
    }));
    if (select) select.addEventListener("change", () => {
      state.estimator = Number(select.value);
      runs.forEach((run) => run.chooseEstimator());
      show(state.place);
    });
    const dark = matchMedia("(prefers-color-scheme: dark)");
    state.theme = dark.matches ? "dark" : "light";
    dark.addEventListener("change", () => {
      if (!state.chosen) { state.theme = dark.matches ? "dark" : "light"; paint(); }
    });
    document.getElementById("theme").addEventListener("click", () => {
      state.chosen = true;
      state.theme = state.theme === "dark" ? "light" : "dark";
      paint();
    });
  }

  async function start() {
    listen();
    slider.max = epochs.length - 1;
    const items = runs.flatMap((run) => Object.entries(data.figures[run.place]).map(([panel, item]) => [run, panel, item]));
    await Promise.all(items.map(([, , item]) => Bokeh.embed.embed_item(item)));
    const roots = Bokeh.documents.map((each) => each.roots()[0]);
    for (const [run, panel, item] of items) run.plots[panel] = roots.find((root) => root.id === item.root_id);
    for (const run of runs) {
      run.makeChips();
      run.fillOthers();
      run.chooseEstimator();
    }
    show(epochs.length - 1);
    paint();
    document.documentElement.dataset.ready = "true";
  }

  start();
})();
