/** The picture of a comparison: each program's speed against what it costs, with the front and the base as lines. */

import { s } from "../dom.js";
import { bytes, significant } from "../words.js";
import { baseOf, onFront } from "./figures.js";
import { placeNames } from "./names.js";

const WIDTH = 360;
const HEIGHT = 264;
const BOX = { left: 48, top: 26, right: WIDTH - 12, bottom: HEIGHT - 40 };

export const COSTS = {
  bytes: { label: "size on disk", format: bytes },
  perplexity: { label: "perplexity", format: significant },
};

/** An SVG element for rows that have a speed and that cost; null if there are none. */
export function pareto(rows, cost) {
  const shown = rows.filter((row) => row.decode && row[cost] !== null);
  if (!shown.length) return null;
  const speeds = shown.flatMap((row) => [row.decode.least, row.decode.most]);
  const x = scale(speeds, BOX.left, BOX.right, 0.16);
  const y = scale(
    shown.map((row) => row[cost]),
    BOX.bottom,
    BOX.top,
    0.14,
  );
  const points = shown.map((row) => ({
    row,
    name: row.name,
    x: x.at(row.decode.median),
    y: y.at(row[cost]),
    least: x.at(row.decode.least),
    most: x.at(row.decode.most),
  }));
  const front = onFront(shown, cost);
  const base = points.find((point) => point.row === baseOf(shown));
  return s(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      class: "chart",
      "aria-label": description(shown, cost),
    },
    grid(x, y, COSTS[cost]),
    base
      ? s("path", {
          class: "base",
          d: `M${base.x} ${BOX.top}V${BOX.bottom}M${BOX.left} ${base.y}H${BOX.right}`,
        })
      : null,
    s("path", { class: "front", d: steps(points.filter((point) => front.includes(point.row))) }),
    points.map((point) => s("path", { class: "range", d: `M${point.least} ${point.y}H${point.most}` })),
    points.map((point) => s("circle", { cx: point.x, cy: point.y, r: 5, class: kind(point.row, front) })),
    names(points, base),
  );
}

/** The edge of the front: from each point up to the cost of the next faster one. */
function steps(points) {
  const sorted = points.sort((a, b) => a.x - b.x);
  return sorted.map((point, index) => (index ? `V${point.y}H${point.x}` : `M${point.x} ${point.y}`)).join("");
}

function names(points, base) {
  const lines = base
    ? [
        [BOX.left, base.y - 1, BOX.right, base.y + 1],
        [base.x - 1, BOX.top, base.x + 1, BOX.bottom],
      ]
    : [];
  return placeNames(points, BOX, lines).map(({ x, y, anchor, name, row }) =>
    s("text", { x, y, "text-anchor": anchor, class: row === base?.row ? "name strong" : "name" }, name),
  );
}

function kind(row, front) {
  return ["point", front.includes(row) ? "best" : "", row.isOwn ? "" : "other"].join(" ").trim();
}

function grid(x, y, cost) {
  return [
    y.ticks.map((tick) => s("path", { class: "grid", d: `M${BOX.left} ${y.at(tick)}H${BOX.right}` })),
    y.ticks.map((tick) =>
      s(
        "text",
        { class: "tick", x: BOX.left - 6, y: y.at(tick) + 4, "text-anchor": "end" },
        withoutZeros(cost.format(tick)),
      ),
    ),
    x.ticks
      .filter((tick) => x.at(tick) <= WIDTH - 20)
      .map((tick) =>
        s(
          "text",
          { class: "tick", x: x.at(tick), y: BOX.bottom + 16, "text-anchor": "middle" },
          tick.toLocaleString("en"),
        ),
      ),
    s(
      "text",
      { class: "axis", x: BOX.right, y: HEIGHT - 6, "text-anchor": "end" },
      "decode, tokens per second →",
    ),
    s("text", { class: "axis", x: 0, y: 12 }, `${cost.label} ↓`),
  ];
}

/** "2.20 MB" as "2.2 MB". */
function withoutZeros(number) {
  return number.replace(/(\.\d*?)0+(?= |$)/, "$1").replace(/\.(?= |$)/, "");
}

/** A linear scale with room around the values, a share of their range, and round ticks inside it. */
function scale(values, from, to, share) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least || most || 1) * share;
  const [low, high] = [Math.max(0, least - room), most + room];
  const step = roundStep((high - low) / 4);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step)
    ticks.push(Number(tick.toPrecision(6)));
  return {
    at: (value) => Math.round(10 * (from + ((value - low) / (high - low)) * (to - from))) / 10,
    ticks,
  };
}

function roundStep(step) {
  const power = 10 ** Math.floor(Math.log10(step));
  return [1, 2, 5, 10].find((factor) => factor * power >= step) * power;
}

function description(rows, cost) {
  const each = rows.map(
    (row) =>
      `${row.name}: ${Math.round(row.decode.median)} tokens per second, ${COSTS[cost].format(row[cost])}`,
  );
  return `Decode speed against ${COSTS[cost].label}. ${each.join("; ")}.`;
}
