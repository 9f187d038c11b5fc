/** The report as a page of its own, for sharing: it needs no other file and runs no script. */

import { h } from "../dom.js";
import { circumstances, finding, gaps, picture, table } from "./sections.js";

const STYLES = ["style/tokens.css", "style/report.css"];

/** The page's HTML; resolves when its styles are read. */
export async function reportPage(report) {
  const styles = await Promise.all(STYLES.map(async (path) => (await fetch(path)).text()));
  const models = [...new Set(report.programs.map((program) => program.model))];
  const title = `Latency of ${models.join(", ")} on ${report.device.name}`;
  const page = document.implementation.createHTMLDocument(title);
  page.documentElement.lang = "en";
  page.head.append(
    h("meta", { charset: "utf-8" }),
    h("meta", { name: "viewport", content: "width=device-width, initial-scale=1" }),
    h("meta", { name: "color-scheme", content: "light dark" }),
  );
  page.body.className = "report alone";
  page.body.append(
    h("h1", {}, title),
    ...[finding(report), gaps(report)].filter(Boolean),
    h("div", { class: "pictures" }, picture(report, "bytes"), picture(report, "perplexity")),
    h("h2", {}, "Figures"),
    table(report),
    h("h2", {}, "Circumstances"),
    ...circumstances(report),
  );
  const html = page.documentElement.outerHTML.replace(
    "</head>",
    () => `<style>\n${styles.join("\n")}</style></head>`,
  );
  return `<!doctype html>\n${html}\n`;
}
