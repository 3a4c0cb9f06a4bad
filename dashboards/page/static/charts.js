// Draws every panel from the JSON of its own address. Text from telemetry is only ever set as text.
"use strict";

const style = getComputedStyle(document.documentElement);
const colour = (name) => style.getPropertyValue(`--${name}`).trim();
const palette = () => [1, 2, 3, 4, 5, 6, 7, 8].map((n) => colour(`c${n}`));
const DASH = "–";

// The chart library reads a little markup in texts: names must not use it.
const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const short = (text, size = 48) => (text.length > size ? `${text.slice(0, size - 1)}…` : text);
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

function figures(value, digits = 3) {
  if (value === null || value === undefined) return DASH;
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  const size = Math.abs(value);
  if (size >= 1000) return Math.round(value).toLocaleString("en-US");
  return size > 0 && size < 1e-4 ? value.toExponential(1) : String(Number(value.toPrecision(digits)));
}

function seconds(value) {
  if (value === null) return DASH;
  const size = Math.abs(value);
  if (size < 1) return `${figures(value * 1000)} ms`;
  if (size < 120) return `${figures(value)} s`;
  if (size < 7200) return `${figures(value / 60)} min`;
  return size < 172800 ? `${figures(value / 3600)} h` : `${figures(value / 86400)} d`;
}

function measured(value, unit) {
  if (value === null || value === undefined) return DASH;
  if (unit === "share") return `${figures(value * 100)} %`;
  if (unit === "s") return seconds(value);
  if (unit === "USD") return `$${figures(value)}`;
  return unit === "tokens" ? `${figures(value)}` : figures(value);
}

const axisFormat = { share: ".3~p", USD: "$~g", s: "~g", tokens: ",~r", count: ",~r" };
const axisSuffix = { s: " s", "per second": "/s" };

function layout(unit, more = {}) {
  const line = { gridcolor: colour("grid"), zerolinecolor: colour("line"), linecolor: colour("line"), automargin: true };
  return {
    margin: { l: 8, r: 8, t: 8, b: 8 }, height: 260, colorway: palette(), showlegend: true,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, sans-serif", size: 12, color: colour("soft") },
    legend: { orientation: "h", x: 0, y: -0.16, yanchor: "top", font: { size: 12 } },
    hoverlabel: { bgcolor: colour("surface"), bordercolor: colour("line"), font: { color: colour("ink") } },
    xaxis: { ...line, type: "date", showgrid: false },
    yaxis: { ...line, rangemode: "tozero", tickformat: axisFormat[unit] || "~g", ticksuffix: axisSuffix[unit] || "" },
    hovermode: "x unified",
    ...more,
  };
}

const options = { displayModeBar: false, responsive: true };
const hoverFormat = { share: ".2%", USD: "$.4~g", s: ".3~g" };

function bySeries(data) {
  const place = data.columns.indexOf("series");
  const numbers = data.columns.filter((name) => name !== "time" && name !== "series");
  const found = new Map();
  for (const row of data.rows) {
    for (const name of numbers) {
      const base = place < 0 ? name : String(row[place]);
      const key = place < 0 || numbers.length === 1 || name === "value" ? base : `${base}\u0000${name}`;
      if (!found.has(key)) found.set(key, { base, name, x: [], y: [] });
      found.get(key).x.push(row[0]);
      found.get(key).y.push(row[data.columns.indexOf(name)]);
    }
  }
  return [...found.values()];
}

function timeseries(body, data) {
  const colours = palette();
  const bases = [...new Set(bySeries(data).map((each) => each.base))];
  const format = hoverFormat[data.unit] || ".4~g";
  const traces = [];
  for (const each of bySeries(data)) {
    const ink = colours[bases.indexOf(each.base) % colours.length];
    const band = each.name === "low" || each.name === "high";
    const name = safe(short(each.base));
    const trace = {
      x: each.x, y: each.y, name, type: "scatter", mode: !data.stacked && !band && each.x.length < 40 ? "lines+markers" : "lines", marker: { size: 4 }, connectgaps: false,
      line: { color: ink, width: band ? 0.8 : 1.8, dash: band ? "dot" : "solid" }, legendgroup: name, showlegend: !band,
      hovertemplate: `%{y:${format}}<extra>%{fullData.name}</extra>`,
    };
    if (band) Object.assign(trace, { hoverinfo: "skip", hovertemplate: undefined, opacity: 0.7 });
    if (data.stacked) Object.assign(trace, { stackgroup: "all", line: { color: ink, width: 1 } });
    traces.push(trace);
  }
  const y = layout(data.unit).yaxis;
  const xaxis = { ...layout(data.unit).xaxis, range: [data.start, data.end] };
  return Plotly.newPlot(body, traces, layout(data.unit, { xaxis, yaxis: y, showlegend: bases.length > 1 || bases[0] !== "value" }), options);
}

function bar(body, data) {
  const traces = data.columns.slice(1).map((name, index) => ({
    type: "bar", name, x: data.rows.map((row) => safe(row[0])), y: data.rows.map((row) => row[index + 1]),
  }));
  return Plotly.newPlot(body, traces, layout(data.unit, { xaxis: { ...layout("").xaxis, type: "category" }, showlegend: false }), options);
}

function heatmap(body, data) {
  const names = [...new Set(data.rows.map((row) => row[1]))].reverse();
  const times = [...new Set(data.rows.map((row) => row[0]))].sort();
  const cells = names.map(() => times.map(() => null));
  for (const row of data.rows) cells[names.indexOf(row[1])][times.indexOf(row[0])] = row[2];
  const scale = [[0, colour("grid")], [0.33, colour("c6")], [1, colour("bad")]];
  const trace = {
    type: "heatmap", x: times, y: names.map((name) => safe(short(name, 36))), z: cells, zmin: 0, zmax: 3, colorscale: scale, xgap: 1, ygap: 1,
    showscale: false, texttemplate: times.length <= 24 ? "%{z:.1f}" : "", textfont: { size: 11 },
    hovertemplate: "%{y}<br>%{x|%Y-%m-%d %H:%M}<br>%{z:.2f} × floor<extra></extra>",
  };
  const height = Math.max(160, 60 + names.length * 26);
  return Plotly.newPlot(body, [trace], layout("", { height, hovermode: "closest", yaxis: { ...layout("").yaxis, type: "category", rangemode: undefined } }), options);
}

function stat(body, data) {
  const row = data.rows[0];
  const value = row ? row[row.length - 1] : null;
  body.append(value === null ? element("span", "no data", "none") : element("span", measured(value, data.unit), "value"));
}

const links = { trace_id: "traces", finding_id: "drift" };
const wholeUnit = { share: ["accuracy", "score", "low", "high", "refused_share", "success"], USD: ["cost", "per_request"] };

function cell(column, value, root, numeric) {
  const made = element("td");
  if (links[column] && value) {
    const link = element("a", column === "finding_id" ? "open" : String(value).slice(0, 12), "mono");
    link.href = `${root}/${links[column]}/${encodeURIComponent(value)}`;
    made.append(link);
  } else if (typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value)) {
    made.textContent = value.slice(0, 16).replace("T", " ");
    made.className = "nowrap";
  } else if (column === "runbook" && /^https?:\/\//.test(value)) {
    const link = element("a", "Runbook");
    link.href = value;
    link.rel = "noreferrer noopener";
    made.append(link);
  } else if (typeof value === "number") {
    made.textContent = wholeUnit.USD.includes(column) ? `$${figures(value)}` : figures(value, 4);
    made.className = "num";
  } else {
    if (numeric) made.className = "num";
    made.textContent = value === null || value === "" ? DASH : short(typeof value === "object" ? JSON.stringify(value) : String(value), 300);
  }
  return made;
}

const titles = { part: "for", p_adjusted: "p", n_reference: "rows before", n_current: "rows now", finding_id: "detail", trace_id: "trace" };

function table(body, data, root) {
  const made = element("table"), head = element("tr"), rows = element("tbody");
  const numeric = data.columns.map((_, index) => data.rows.some((row) => typeof row[index] === "number"));
  data.columns.forEach((name, index) => head.append(element("th", titles[name] || name.replaceAll("_", " "), numeric[index] ? "num" : "")));
  for (const row of data.rows) {
    const line = element("tr");
    row.forEach((value, index) => line.append(cell(data.columns[index], value, root, numeric[index])));
    rows.append(line);
  }
  const top = element("thead");
  top.append(head);
  made.append(top, rows);
  body.append(made);
}

function bins(body, data) {
  const labels = data.bins.labels.map((text) => safe(short(text, 24)));
  const one = (name, key, ink) => ({ type: "bar", name, x: labels, y: data.bins[key], marker: { color: ink }, hovertemplate: "%{y:.1%}<extra>%{fullData.name}</extra>" });
  const traces = [one("reference", "reference", colour("soft")), one("this window", "current", colour("c2"))];
  const xaxis = { ...layout("").xaxis, type: "category" };
  return Plotly.newPlot(body, traces, layout("share", { barmode: "group", bargap: 0.25, xaxis }), options);
}

function course(body, data) {
  const x = data.course.map((row) => row.window_end);
  const of = (name) => data.course.map((row) => row[name]);
  const ink = data.course.map((row) => colour(row.verdict === "drift" ? "bad" : row.verdict === "stable" ? "c1" : "dark"));
  const traces = [
    { x, y: of("effect"), name: "effect", mode: "lines+markers", line: { color: colour("c1"), width: 1.6 }, marker: { color: ink, size: 7 }, text: of("verdict"), hovertemplate: "%{y:.3g} (%{text})<extra></extra>" },
    { x, y: of("effect_floor"), name: "floor", mode: "lines", line: { color: colour("soft"), width: 1.2, dash: "dash" }, hoverinfo: "skip" },
  ];
  return Plotly.newPlot(body, traces, layout("number"), options);
}

async function answer(address) {
  const response = await fetch(address);
  const data = await response.json();
  if (!response.ok) throw new Error(data.detail || `status ${response.status}`);
  return data;
}

async function draw(figure) {
  const body = figure.querySelector(".body");
  try {
    const data = await answer(figure.dataset.panel || figure.dataset.finding);
    const kind = figure.dataset.draw || data.kind;
    const nothing = figure.dataset.draw ? (kind === "bins" ? !data.bins : !data.course.length) : kind !== "stat" && !data.rows.length;
    body.replaceChildren();
    if (nothing) body.append(element("span", figure.dataset.draw ? "This detector leaves no binned shares" : "Nothing in the shown time", "none"));
    else await { timeseries, bar, heatmap, stat, table, bins, course }[kind](body, data, figure.dataset.root || "");
  } catch (error) {
    body.replaceChildren(element("span", error.message, "failed"));
  }
  figure.dataset.state = "drawn";
}

const figuresToDraw = document.querySelectorAll("[data-panel], [data-finding]");
const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    watcher.unobserve(entry.target);
    draw(entry.target);
  }
}, { rootMargin: "600px" });
figuresToDraw.forEach((figure) => watcher.observe(figure));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => figuresToDraw.forEach(draw));
