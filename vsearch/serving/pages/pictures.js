// Pictures of numbers. Each is a table, or stands beside one, so that it can be read without being seen.

import { draw, make, readable } from "./dom.js";

function bar(share) {
  const width = Math.max(0, Math.min(1, share)) * 100;
  return draw("svg", { viewBox: "0 0 100 8", width: "100%", height: 8, preserveAspectRatio: "none", "aria-hidden": "true" },
    draw("rect", { class: "rest", width: 100, height: 8 }), draw("rect", { class: "fill", width: width > 0 ? Math.max(width, 0.5) : 0, height: 8 }));
}

// Rows of [name, value, shown value, remark]; lengths are relative to the largest value, on a logarithmic scale if asked.
export function bars(caption, rows, { logarithmic = false } = {}) {
  const scaled = (value) => (logarithmic ? Math.log10(1 + value) : value);
  const largest = Math.max(...rows.map(([, value]) => scaled(value)), Number.MIN_VALUE);
  return make("table", {}, make("caption", { class: "quiet" }, caption), make("tbody", {}, rows.map(([title, value, text, remark]) =>
    make("tr", {}, make("th", { scope: "row" }, title), make("td", { class: "bar" }, bar(scaled(value) / largest)),
      make("td", { class: "number" }, text), remark === undefined ? null : make("td", { class: "quiet" }, remark)))));
}

// A strip with one field for each partition, or for several if there are many; how many are filled is what counts.
export function strip(visited, total) {
  const fields = Math.min(total, 120), filled = visited ? Math.max(1, Math.round((visited / total) * fields)) : 0;
  const cells = Array.from({ length: fields }, (_, place) => draw("rect", { class: place < filled ? "fill" : "rest", x: place * 10, width: 8, height: 14 }));
  return draw("svg", { viewBox: `0 0 ${fields * 10} 14`, width: "100%", height: 14, preserveAspectRatio: "none", role: "img",
    "aria-label": `${visited} of ${total} partitions visited` }, cells);
}

// `width` is that of its place: text in a picture that is scaled down could not be read.
export function curve({ points, k, rows, tuned }, width) {
  const size = Math.max(280, Math.min(620, width));
  const [left, right, top, bottom] = [40, size - 8, 14, 200];
  const costs = points.map((point) => Math.log10(1 + point.rows_scanned));
  const [least, most] = [Math.min(...costs), Math.max(...costs)], lowest = Math.min(0.9, ...points.map((point) => point.recall), tuned ?? 1);
  const x = (cost) => left + ((cost - least) / Math.max(most - least, 1e-9)) * (right - left);
  const y = (recall) => bottom - ((recall - lowest) / Math.max(1 - lowest, 1e-9)) * (bottom - top);
  const places = points.map((point, place) => [x(costs[place]), y(point.recall)]);
  const now = points.findIndex((point) => point.factor === 1);
  const picture = draw("svg", { viewBox: `0 0 ${size} 224`, width: size, role: "img", "aria-label": `Recall at ${k} against rows scanned; the table below has the numbers` },
    draw("path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}`, fill: "none" }),
    tuned === null ? null : draw("path", { class: "tuned", d: `M${left} ${y(tuned)}H${right}` }),
    draw("path", { class: "line", d: `M${places.map((place) => place.join(" ")).join("L")}` }),
    places.map(([cx, cy]) => draw("circle", { class: "dot", cx, cy, r: 3.5 })),
    now < 0 ? null : draw("circle", { class: "now", cx: places[now][0], cy: places[now][1], r: 8 }),
    draw("text", { x: left - 6, y: top + 4, "text-anchor": "end" }, "1.00"), draw("text", { x: left - 6, y: bottom, "text-anchor": "end" }, lowest.toFixed(2)),
    draw("text", { x: left, y: bottom + 18 }, readable(Math.round(points[0].rows_scanned))),
    draw("text", { x: right, y: bottom + 18, "text-anchor": "end" }, `${readable(Math.round(points.at(-1).rows_scanned))} of ${readable(rows)} rows scanned`));
  const legend = make("p", { class: "quiet" }, `recall@${k}; the circle: settings of the index${tuned === null ? "" : "; dashed: tuned to"}`);
  const heads = ["settings ×", "recall", "rows scanned", "partitions", "ms"];
  const table = make("table", {}, make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col", class: "number" }, head)))),
    make("tbody", {}, points.map((point) => make("tr", {}, [readable(point.factor), point.recall.toFixed(3), readable(Math.round(point.rows_scanned)),
      readable(point.partitions_visited), point.milliseconds.toFixed(2)].map((text) => make("td", { class: "number" }, text))))));
  return [picture, legend, make("div", { class: "wide" }, table)];
}
