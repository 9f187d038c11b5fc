/** Figures of a report (edge/latency/schema.py): one row a program, at the headline's threads and lengths. */

import { bits } from "../words.js";

/** Median, least and most of some numbers; null for none. */
export function spread(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  const median = sorted.length % 2 ? sorted[Math.floor(middle)] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, least: sorted[0], most: sorted.at(-1) };
}

/** A row for every program, in the report's order. */
export function rowsOf(report) {
  const [threads] = report.settings.threads;
  return report.programs.map((program) => {
    const runs = program.runs.filter((run) => run.threads === threads);
    const over = (value) => spread(runs.map(value).filter((each) => each !== undefined && each !== null));
    const atLeast = (lengths, table) =>
      lengths.find((length) => runs.some((run) => run[table]?.[length] !== undefined));
    const prompt = atLeast(report.settings.prompts, "prefill");
    const context = atLeast(report.settings.contexts, "decode");
    return {
      program,
      name: shortName(program, report),
      isOwn: program.recipe === "lowbit",
      prompt,
      context,
      rounds: runs.length,
      decode: over((run) => run.decode[context]?.tokens_per_second),
      prefill: over((run) => run.prefill[prompt]),
      firstToken: over((run) => run.first_token_ms),
      bytes: program.file_bytes,
      perplexity: program.quality?.perplexity ?? null,
    };
  });
}

/** "2 bits", or "XNNPACK 4 bits", where that tells it from the others; else the report's own name. */
function shortName(program, report) {
  const others = report.programs.filter((other) => other !== program);
  if (others.some((other) => other.model !== program.model)) return program.name;
  return others.some((other) => widthOf(other) === widthOf(program)) ? program.label : widthOf(program);
}

function widthOf({ recipe, format, bits: count }) {
  if (format === "elastic") return `${bits(count)} elastic`;
  if (recipe === "lowbit") return bits(count);
  return `${recipe.startsWith("xnnpack") ? "XNNPACK" : recipe} ${bits(count)}`;
}

/** The opponent that all are compared with: XNNPACK's 4 bits, or else our own. */
export function baseOf(rows) {
  const measured = rows.filter((row) => row.decode);
  return (
    measured.find((row) => row.program.recipe.startsWith("xnnpack")) ??
    measured.find((row) => row.isOwn && row.program.bits === 4)
  );
}

/** Mark the rows that no other beats in speed and in a cost. */
export function onFront(rows, cost) {
  return rows.filter((row) => !rows.some((other) => beats(other, row, cost)));
}

function beats(other, row, cost) {
  const isNoWorse = other.decode.median >= row.decode.median && other[cost] <= row[cost];
  return isNoWorse && (other.decode.median > row.decode.median || other[cost] < row[cost]);
}

/** The finding in one sentence; null as long as nothing was measured. */
export function verdict(rows) {
  const own = rows.filter((row) => row.isOwn && row.decode);
  if (!own.length) return null;
  const best = own.reduce((a, b) => (b.decode.median > a.decode.median ? b : a));
  const speed = `${best.name} writes ${Math.round(best.decode.median).toLocaleString("en")} tokens a second`;
  const base = baseOf(rows);
  if (!base || base === best) return `${speed}, the fastest of these.`;
  const times = (best.decode.median / base.decode.median).toFixed(2);
  const share = Math.round((100 * best.bytes) / base.bytes);
  return `${speed}, ${times} times as many as ${base.name}, from ${share} % of its bytes.`;
}
