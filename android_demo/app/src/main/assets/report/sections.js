/** The parts of a report that the view and the shared page have in common: its finding, table and circumstances. */

import { h } from "../dom.js";
import { bytes, significant } from "../words.js";
import { baseOf, rowsOf, verdict } from "./figures.js";
import { pareto } from "./pareto.js";

/** The finding in a sentence; nothing as long as nothing was measured. */
export function finding(report) {
  const sentence = verdict(rowsOf(report));
  return sentence ? h("p", { class: "verdict" }, sentence) : null;
}

/** The picture for a cost; null if no program has it. */
export function picture(report, cost) {
  const svg = pareto(rowsOf(report), cost);
  if (!svg) return null;
  const caption =
    "Right and down is better. Filled: no other program is faster and cheaper. Dashed: the 4-bit base.";
  return h("figure", {}, svg, h("figcaption", {}, caption));
}

/** All programs with their figures: the median of the rounds. */
export function table(report) {
  const rows = rowsOf(report);
  const base = baseOf(rows);
  const heads = [
    "Program",
    "Decode tok/s",
    "Against base",
    "Prefill tok/s",
    "First token ms",
    "Size",
    "Perplexity",
  ];
  const body = rows.map((row) =>
    h(
      "tr",
      { class: row === base ? "base" : null },
      h("th", { scope: "row" }, row.name),
      row.program.failure
        ? h("td", { colspan: heads.length - 1, class: "failure" }, `failed: ${row.program.failure}`)
        : cells(row, base).map((cell) => h("td", {}, cell)),
    ),
  );
  const scroll = h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of figures" },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((head) => h("th", { scope: "col" }, head)),
        ),
      ),
      h("tbody", {}, body),
    ),
  );
  return h("div", {}, scroll, h("p", { class: "small" }, lengths(report, rows)));
}

function cells(row, base) {
  const median = (spread) => (spread ? significant(spread.median) : "–");
  const against = base && row.decode ? `${(row.decode.median / base.decode.median).toFixed(2)}x` : "–";
  return [
    median(row.decode),
    against,
    median(row.prefill),
    median(row.firstToken),
    bytes(row.bytes),
    row.perplexity === null ? "–" : significant(row.perplexity),
  ];
}

function lengths(report, rows) {
  const measured = rows.find((row) => row.decode);
  const rounds = Math.min(...rows.filter((row) => row.decode).map((row) => row.rounds));
  if (!measured) return "Nothing is measured yet.";
  const { settings } = report;
  return (
    `Decode behind ${measured.context} tokens, prefill of ${measured.prompt}, threads: ${settings.threads[0]}. ` +
    `Medians of ${rounds} of ${settings.rounds} rounds; lines in the picture reach from the least to the most.`
  );
}

/** What the figures were measured on. */
export function circumstances(report) {
  const { device, settings } = report;
  const runs = report.programs.flatMap((program) => program.runs);
  const speed = device.max_khz ? `, up to ${Math.round(device.max_khz / 1000)} MHz` : "";
  const entries = {
    Device: device.name,
    Processor: device.cpu,
    Cores: `${device.cores.length} (${device.cores.join(", ")})${speed}`,
    Threads: settings.threads.join(", "),
    Governor: device.governors.join(", "),
    Memory: device.memory_bytes ? bytes(device.memory_bytes) : "",
    System: device.system,
    Temperature: range(runs, "temperature_c", "°C"),
    Battery: range(runs, "battery_percent", runs.some((run) => run.charging) ? "%, charging" : "%"),
    Kernel: [...new Set(runs.map((run) => run.kernel).filter(Boolean))].join(", "),
    Started: `${report.started.replace("T", " ").slice(0, 16)} UTC`,
    Versions: Object.entries(report.versions)
      .map((pair) => pair.join(" "))
      .join(", "),
  };
  const notes = report.programs.filter((each) => each.note).map((each) => `${each.name}: ${each.note}`);
  const listed = Object.entries(entries).filter(([, value]) => value);
  return [
    h(
      "dl",
      { class: "circumstances" },
      listed.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    ),
    notes.length
      ? h(
          "ul",
          { class: "notes" },
          notes.map((note) => h("li", {}, note)),
        )
      : null,
  ].filter(Boolean);
}

/** "31 to 36 °C", over all runs. */
function range(runs, name, unit) {
  const values = runs.map((run) => run[name]).filter((value) => value !== null && value !== undefined);
  if (!values.length) return runs.length ? "not readable" : "";
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return least === most ? `${least} ${unit}` : `${least} to ${most} ${unit}`;
}

/** Why figures are missing; nothing if none is. */
export function gaps(report) {
  if (report.finished) return null;
  const why = report.stopped ? `Stopped early, because ${report.stopped}.` : "Unfinished.";
  return h("p", { class: "warning" }, `${why} Figures are of the rounds that were measured.`);
}
