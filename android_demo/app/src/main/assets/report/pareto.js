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
  const x = scale(
    shown.flatMap((row) => [row.decode.least, row.decode.most]),
    BOX.left,
    BOX.right,
    true,
  );
  const y = scale(
    shown.map((row) => row[cost]),
    BOX.bottom,
    BOX.top,
    false,
  );
  const front = onFront(shown, cost).sort((a, b) => a.decode.median - b.decode.median);
  const base = baseOf(shown);
  const at = (row) => ({ x: x.at(row.decode.median), y: y.at(row[cost]) });
  const steps = front.map((row, index) =>
    index ? `V${at(row).y}H${at(row).x}` : `M${at(row).x} ${at(row).y}`,
  );
  const ends = (row) => ({ least: x.at(row.decode.least), most: x.at(row.decode.most) });
  const points = shown.map((row) => ({ ...at(row), ...ends(row), name: row.name, row }));
  const lines = base
    ? [
        [BOX.left, at(base).y - 1, BOX.right, at(base).y + 1],
        [at(base).x - 1, BOX.top, at(base).x + 1, BOX.bottom],
      ]
    : [];
  const names = placeNames(points, BOX, lines);
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
          d: `M${at(base).x} ${BOX.top}V${BOX.bottom}M${BOX.left} ${at(base).y}H${BOX.right}`,
        })
      : null,
    s("path", { class: "front", d: steps.join("") }),
    points.map(({ least, most, y: height }) =>
      s("path", { class: "range", d: `M${least} ${height}H${most}` }),
    ),
    points.map((point) => s("circle", { cx: point.x, cy: point.y, r: 5, class: kind(point.row, front) })),
    names.map((name) =>
      s(
        "text",
        {
          x: name.x,
          y: name.y,
          "text-anchor": name.anchor,
          class: name.row === base ? "name strong" : "name",
        },
        name.name,
      ),
    ),
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

/** A linear scale with room around the values, and round ticks inside it. */
function scale(values, from, to, leavesRoomForNames) {
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least || most || 1) * (leavesRoomForNames ? 0.16 : 0.14);
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
