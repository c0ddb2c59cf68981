"use strict";
// Draws the charts of the page as SVG at their size in px, and redraws them when it changes. All data is in #data.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.querySelector(".tooltip");
  const colours = ["--c0", "--c1", "--c2", "--c4", "--c5", "--c3"].map(name => `var(${name})`);
  const three = value => value === null ? "–" : value.toFixed(Math.abs(value) < 10 ? 3 : 1);

  function element(name, attributes = {}, parent = null, text = null) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== null) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }
  function html(name, text = "", attributes = {}) {
    const made = Object.assign(document.createElement(name), attributes);
    made.append(text);
    return made;
  }

  // Round numbers that cover low to high, about `count` of them.
  function ticks(low, high, count) {
    const raw = (high - low) / Math.max(1, count), power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 5, 10].find(times => times * power >= raw);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)), found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++)
      found.push([i * step, digits > 6 ? (i * step).toPrecision(3) : (i * step).toFixed(digits)]);
    return found;
  }
  function clock(seconds) {
    if (seconds < 90) return `${Math.round(seconds)} s`;
    return seconds < 3600 ? `${+(seconds / 60).toFixed(1)} min` : `${+(seconds / 3600).toFixed(1)} h`;
  }
  function clockTicks(high, count) {
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 36000, 86400, 172800, 864000, 8640000];
    const step = steps.find(one => high / one <= count) ?? high, found = [];
    for (let at = 0; at <= high; at += step) found.push([at, clock(at)]);
    return found;
  }

  // An empty chart with axes; `x` and `y` turn values into px.
  function frame(box, [x0, x1], [y0, y1], {xTicks = null, xLabel = "", yLabel = "", label = ""} = {}) {
    const width = box.clientWidth, height = box.clientHeight, left = 46, right = 12, top = 18, bottom = 40;
    box.querySelector("svg")?.remove();
    const svg = element("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label});
    box.prepend(svg);
    const x = value => left + (value - x0) / (x1 - x0 || 1) * (width - left - right);
    const y = value => height - bottom - (value - y0) / (y1 - y0 || 1) * (height - top - bottom);
    for (const [value, text] of ticks(y0, y1, height / 55)) {
      element("line", {class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value)}, svg);
      element("text", {x: left - 7, y: y(value) + 4, "text-anchor": "end"}, svg, text);
    }
    for (const [value, text] of xTicks ? xTicks(x1, width / 90) : ticks(x0, x1, width / 70)) {
      element("line", {class: "axis", x1: x(value), x2: x(value), y1: height - bottom, y2: height - bottom + 4}, svg);
      element("text", {x: x(value), y: height - bottom + 18, "text-anchor": "middle"}, svg, text);
    }
    element("line", {class: "axis", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom}, svg);
    element("text", {x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle"}, svg, xLabel);
    if (yLabel) element("text", {x: 0, y: 9}, svg, yLabel);
    return {svg, x, y, left, right: width - right, top, bottom: height - bottom};
  }
  const path = (points, step) => points.reduce((d, [x, y], i) =>
    d + (i === 0 ? `M${x.toFixed(1)} ${y.toFixed(1)}` : step ? `H${x.toFixed(1)}V${y.toFixed(1)}` : `L${x.toFixed(1)} ${y.toFixed(1)}`), "");

  function show(event, ...parts) {
    tip.replaceChildren(...parts);
    tip.hidden = false;
    const {width, height} = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - width - 8))}px`;
    tip.style.top = `${event.clientY - height - 14 > 8 ? event.clientY - height - 14 : event.clientY + 18}px`;
  }
  const rows = pairs => pairs.map(([name, value]) => {
    const row = html("div");
    row.append(html("span", name), html("b", value));
    return row;
  });

  // Names each line where it is: at its left end, or where another name stands further to the right, or else below the line.
  function label(draw, references) {
    const taken = [];
    for (const {value, name} of references) {
      const text = element("text", {class: "label"}, draw.svg, name), width = text.getComputedTextLength() + 10;
      const free = [];
      for (const y of [draw.y(value) - 4, draw.y(value) + 13])
        for (let x = draw.left + 6; x + width <= draw.right + 10; x += 8)
          free.push([x, y, taken.reduce((over, [a, b, wide]) => over + (Math.abs(b - y) < 13 && a < x + width && x < a + wide), 0)]);
      const [x, y] = free.reduce((best, one) => one[2] < best[2] ? one : best, free[0] ?? [draw.left + 6, draw.y(value) - 4, 0]);
      taken.push([x, y, width]);
      text.setAttribute("x", x); text.setAttribute("y", y);
    }
  }

  // Lines over a common x, with a cross-hair that reads all of them; with `step`, a value holds until the next one.
  function lines(box, xs, series, {step = false, references = [], legend = true, xText = three, ...options}, xRange, yRange) {
    const draw = frame(box, xRange, yRange, options);
    for (const {value} of references)
      element("line", {class: "reference", x1: draw.left, x2: draw.right, y1: draw.y(value), y2: draw.y(value)}, draw.svg);
    for (const {values, colour, kind = ""} of series) {
      let piece = [];
      const flush = () => { if (piece.length) element("path", {class: `line ${kind}`, d: path(piece, step), style: `stroke:${colour}`}, draw.svg); piece = []; };
      xs.forEach((x, i) => {
        const value = values[i];
        if (value === null || value < yRange[0] - 1e-9 || value > yRange[1] + 1e-9) flush(); else piece.push([draw.x(x), draw.y(value)]);
      });
      flush();
    }
    label(draw, references);
    if (legend && !box.parentElement.querySelector(".legend")) {
      const list = html("ul", "", {className: "legend"});
      for (const {name, colour} of series) {
        const item = html("li"), mark = html("i");
        mark.style.background = colour;
        item.append(mark, name);
        list.append(item);
      }
      box.after(list);
    }
    const cross = element("line", {class: "cross", y1: draw.top, y2: draw.bottom, visibility: "hidden"}, draw.svg);
    box.onpointermove = event => {
      const at = event.clientX - box.getBoundingClientRect().left;
      let i = 0;
      if (step) while (i + 1 < xs.length && draw.x(xs[i + 1]) <= at) i++;
      else xs.forEach((x, j) => { if (Math.abs(draw.x(x) - at) < Math.abs(draw.x(xs[i]) - at)) i = j; });
      const place = Math.max(draw.left, Math.min(step ? at : draw.x(xs[i]), draw.right));
      for (const end of ["x1", "x2"]) cross.setAttribute(end, place);
      cross.setAttribute("visibility", "visible");
      show(event, ...rows([[options.xLabel, xText(xs[i])], ...series.map(({name, values}) => [name, three(values[i])])]));
    };
    box.onpointerleave = () => { cross.setAttribute("visibility", "hidden"); tip.hidden = true; };
  }

  let over = "seconds";
  const charts = {
    best(box) {
      const {steps} = data, xs = steps[over], means = data.references.map(one => one.mean);
      const high = Math.max(...steps.best, ...steps.anchors.flat(), ...means), first = steps.best.findIndex(value => value > 0);
      const low = Math.min(steps.best[first], ...steps.anchors.map(values => values[first]), ...means);
      const span = Math.max(high - low, .05);
      const shown = data.references.map(({mean, name}) => ({value: mean, name}));
      const from = Math.max(0, low - span * .08);
      const series = data.anchors.map((name, i) => ({name, values: steps.anchors[i], colour: colours[i % colours.length], kind: "thin"}));
      series.push({name: "mean", values: steps.best, colour: "var(--ink)", kind: "bold"});
      lines(box, xs, series, {step: true, references: shown, label: "best accuracy so far", ...overAxis()}, [0, xs.at(-1)], [from, high + span * .04]);
    },
    hypervolume(box) {
      const {steps} = data, xs = steps[over];
      lines(box, xs, [{name: "hypervolume", values: steps.hypervolume, colour: "var(--c0)", kind: "bold"}],
        {step: true, legend: false, label: "hypervolume so far", ...overAxis()}, [0, xs.at(-1)], [0, Math.max(...steps.hypervolume) * 1.06 || 1]);
    },
    response(box) {
      const {x, scales, curves} = data.responses[+box.dataset.layer];
      const values = curves.flat().filter(value => value !== null).sort((a, b) => a - b);
      // A pole or an exponential would flatten all other curves.
      let low = Math.max(values[0] ?? -1, -8), high = Math.min(values.at(-1) ?? 1, 8);
      if (high - low < .2) [low, high] = [low - .5, high + .5];
      const margin = (high - low) * .06, shades = ["var(--c2)", "var(--c0)", "var(--c1)"];
      lines(box, x, scales.map((scale, i) => ({name: `others’ σ = ${scale}`, values: curves[i], colour: shades[i % 3]})),
        {xLabel: "x", label: "response of the layer", xText: value => value.toFixed(1)}, [x[0], x.at(-1)], [low - margin, high + margin]);
    },
    rungs(box) {
      const {labels, reached, names, paths} = data.rungs, last = labels.length - 1;
      const [low, high] = extent(paths.flat());
      const draw = frame(box, [-.15, last + .25], [low, high], {label: "mean accuracy from training to training",
        xTicks: () => labels.map((text, i) => [i, text]), xLabel: `layers: ${reached.map(count => count.toLocaleString("en")).join(" → ")}`});
      const points = scores => scores.map((score, i) => [draw.x(i), draw.y(score)]);
      // One path for all, to draw hundreds quickly.
      element("path", {class: "path", d: paths.filter((_, k) => !names[k]).map(scores => path(points(scores))).join("")}, draw.svg);
      const ends = [];
      paths.forEach((scores, k) => {
        if (!names[k]) return;
        element("path", {class: "line", d: path(points(scores)), style: `stroke:${colours[ends.length % colours.length]}`}, draw.svg);
        ends.push([draw.x(scores.length - 1), draw.y(scores.at(-1)), names[k]]);
      });
      const placed = [];
      for (const [x, y, name] of ends.sort((a, b) => a[1] - b[1])) {
        let at = y + 4;
        for (const [a, b] of placed) if (Math.abs(a - x) < 60 && at - b < 13) at = b + 13;
        placed.push([x, at]);
        element("text", {class: "label", x: x + 6, y: at}, draw.svg, name);
      }
    },
    front,
  };
  const overAxis = () => over === "seconds"
    ? {xTicks: clockTicks, xLabel: "core time", xText: clock}
    : {xLabel: "candidates judged", xText: value => value.toLocaleString("en")};

  function extent(...lists) {
    let low = Infinity, high = -Infinity;
    for (const list of lists) for (const value of list) if (value !== null) { low = Math.min(low, value); high = Math.max(high, value); }
    const margin = (high - low) * .05 || .05;
    return [low - margin, high + margin];
  }

  let chosen = -1;  // the point whose values are shown
  function front(box) {
    const figure = box.closest("figure"), {points, axes, references} = data;
    const [i, j] = ["x", "y"].map(name => Math.min(+figure.querySelector(`[data-axis=${name}]`).value, axes.length - 1));
    const xs = points.values[i], ys = points.values[j];
    const known = references.filter(one => one.values[i] !== null && one.values[j] !== null);
    const hint = axis => axis.label + (axis.up ? " →" : " ← better");
    const draw = frame(box, extent(xs, known.map(one => one.values[i])), extent(ys, known.map(one => one.values[j])),
      {xLabel: hint(axes[i]), yLabel: (axes[j].up ? "↑ " : "↓ ") + axes[j].label, label: `scored layers by ${axes[i].label} and ${axes[j].label}`});
    const at = k => [draw.x(xs[k]), draw.y(ys[k])], whole = k => xs[k] !== null && ys[k] !== null;
    // One path for many dots, to draw thousands quickly; several paths of faint dots, so that dense regions show.
    const layers = Math.min(16, 1 + (xs.length >> 5)), dots = [...Array(layers).fill(""), ""];
    xs.forEach((_, k) => {
      if (!whole(k)) return;
      const r = points.front[k] ? 5 : 3.2, [x, y] = at(k);
      dots[points.front[k] ? layers : k % layers] += `M${(x - r).toFixed(1)} ${y.toFixed(1)}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0`;
    });
    dots.forEach((d, k) => element("path", {class: k === layers ? "front" : "other", d}, draw.svg));
    const placed = [];
    for (const one of [...known].sort((a, b) => b.values[j] - a.values[j])) {
      const x = draw.x(one.values[i]), y = draw.y(one.values[j]), end = x > draw.right - 90;
      element("path", {class: "diamond", d: `M${x} ${y - 6}l6 6l-6 6l-6 -6z`}, draw.svg);
      let at = y + 4;  // where another name stands, the next place below it
      for (const [a, b] of placed) if (Math.abs(a - x) < 90 && Math.abs(b - at) < 14) at = b + 14;
      placed.push([x, at]);
      element("text", {class: "label", x: x + (end ? -10 : 10), y: at, "text-anchor": end ? "end" : "start"}, draw.svg, one.name);
    }
    const hit = element("circle", {class: "hit", r: 8, visibility: "hidden"}, draw.svg);
    const readout = figure.querySelector(".readout");
    const read = k => {
      chosen = k;
      if (!whole(k)) return;
      const [x, y] = at(k);
      hit.setAttribute("cx", x); hit.setAttribute("cy", y); hit.setAttribute("visibility", "visible");
      readout.replaceChildren(html("code", points.text[k]), document.createElement("br"), html("span", `${data.run}/${points.index[k]}`, {className: "meta"}),
        html("span", `mean ${three(points.mean[k])}`, {className: "meta"}),
        ...axes.map((axis, a) => html("span", `${axis.label} ${three(points.values[a][k])}`, {className: "meta"})));
    };
    const nearest = event => {
      const place = box.getBoundingClientRect(), px = event.clientX - place.left, py = event.clientY - place.top;
      let best = -1, least = 26 ** 2;
      xs.forEach((_, k) => {
        if (!whole(k)) return;
        const [x, y] = at(k), away = (x - px) ** 2 + (y - py) ** 2 - (points.front[k] ? 16 : 0);
        if (away < least) { least = away; best = k; }
      });
      return best;
    };
    box.onpointermove = event => {
      const k = nearest(event);
      if (k < 0) { tip.hidden = true; return; }
      read(k);
      show(event, html("code", points.text[k]), ...rows([[`layer ${data.run}/${points.index[k]}`, ""], ["mean", three(points.mean[k])], ...axes.map((axis, a) => [axis.label, three(points.values[a][k])])]));
    };
    box.onpointerleave = () => { tip.hidden = true; };
    const order = xs.map((_, k) => k).filter(k => points.front[k] && whole(k)).sort((a, b) => xs[a] - xs[b] || a - b);
    box.onkeydown = event => {
      const move = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1}[event.key];
      if (!move || !order.length) return;
      event.preventDefault();
      read(order[(Math.max(0, order.indexOf(chosen)) + (order.includes(chosen) ? move : 0) + order.length) % order.length]);
    };
    const best = order.reduce((a, b) => a < 0 || points.mean[b] > points.mean[a] ? b : a, -1);
    if (chosen >= 0 || best >= 0) read(chosen >= 0 ? chosen : best);
  }

  const boxes = [...document.querySelectorAll(".chart")];
  const draw = box => { if (box.clientWidth) charts[box.dataset.chart](box); };
  const sizes = new ResizeObserver(entries => entries.forEach(entry => draw(entry.target)));
  boxes.forEach(box => { draw(box); sizes.observe(box); });
  const redraw = (...names) => boxes.filter(box => names.includes(box.dataset.chart)).forEach(draw);
  for (const select of document.querySelectorAll("[data-axis]")) select.onchange = () => redraw("front");
  for (const button of document.querySelectorAll("[data-over]")) button.onclick = () => {
    over = button.dataset.over;
    for (const other of document.querySelectorAll("[data-over]")) other.setAttribute("aria-pressed", other === button);
    redraw("best", "hypervolume");
  };
  document.documentElement.dataset.drawn = Math.round(performance.now());  // ms until everything was drawn
})();
