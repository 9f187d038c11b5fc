// Reads {assets, report} as JSON from stdin; prints the figures that the page shows of a report.
import { readFileSync } from "node:fs";

const { assets, report } = JSON.parse(readFileSync(0, "utf8"));
const { baseOf, onFront, rowsOf, verdict } = await import(`${assets}/report/figures.js`);

const rows = rowsOf(report);
const front = (cost) => onFront(rows, cost).map((row) => row.program.name);
process.stdout.write(
  JSON.stringify({
    rows: rows.map(({ program, name, decode, prefill, context, prompt }) => ({
      program: program.name,
      name,
      decode,
      prefill,
      context,
      prompt,
    })),
    base: baseOf(rows).program.name,
    fronts: { bytes: front("bytes"), perplexity: front("perplexity") },
    verdict: verdict(rows),
  }),
);
