/** The view of a comparison: choose and plan, follow, and see the last report. */

import { attempt, h, icon, notify } from "../dom.js";
import { call, listen } from "../host.js";
import { reportPage } from "../report/page.js";
import { COSTS } from "../report/pareto.js";
import { circumstances, finding, gaps, picture, table } from "../report/sections.js";
import { watch } from "../store.js";
import { duration } from "../words.js";
import { ComparePlanForm } from "./compare_form.js";

export function showCompare(main) {
  const compare = new Compare(main);
  watch(() => compare.form.render());
  attempt(() => compare.restore());
}

class Compare {
  constructor(main) {
    this.run = null;
    this.report = null;
    this.cost = "bytes";
    this.form = new ComparePlanForm((request) => this.start(request));
    this.line = h("p", { class: "progress-line" });
    this.left = h("span", {});
    this.bar = h("progress", { max: "1", value: "0", "aria-label": "Progress of the comparison" });
    const stop = h(
      "button",
      { class: "quiet", click: () => attempt(() => call("compare.stop", { run: this.run })) },
      icon("stop"),
      "Stop",
    );
    this.progress = h(
      "section",
      { class: "progress", hidden: true },
      this.line,
      this.bar,
      h("div", { class: "row" }, this.left, stop),
    );
    this.result = h("section", { class: "report", "aria-label": "Report" });
    const head = h(
      "header",
      { class: "view-head" },
      h("div", {}, h("h1", {}, "Compare"), h("p", { class: "lead" }, "Which width should this device run?")),
    );
    main.append(head, this.form.element, this.progress, this.result);
    listen("compare.progress", (event) => this.follow(event));
    listen("compare.done", (event) => this.end(event.report));
    listen("reconnected", () => attempt(() => this.restore()));
    listen("compare.failed", (event) => {
      this.end(this.report);
      notify(event.error, "error");
    });
  }

  /** Show the last report, and take up a comparison that an earlier page began. */
  async restore() {
    const { report, run } = await call("compare.last");
    this.report = report;
    this.setRunning(run ?? null);
    this.render();
  }

  async start(request) {
    const { run } = await call("compare.start", request);
    this.setRunning(run);
    this.line.textContent = "Preparing";
    this.left.textContent = "";
    this.bar.value = 0;
  }

  follow(event) {
    this.setRunning(event.run);
    this.line.textContent = event.line;
    this.bar.value = event.done / event.total;
    this.left.textContent = `${event.done} of ${event.total}, about ${duration(event.seconds_left)} left`;
    this.report = event.report;
    this.render();
  }

  end(report) {
    this.report = report;
    this.setRunning(null);
    this.render();
  }

  setRunning(run) {
    this.run = run;
    this.progress.hidden = run === null;
    this.form.element.hidden = run !== null;
  }

  render() {
    const { report } = this;
    if (!report) {
      this.result.replaceChildren();
      return;
    }
    const share = h(
      "button",
      { class: "primary", disabled: this.run !== null, click: () => attempt(() => this.share()) },
      icon("share"),
      "Share the report",
    );
    const parts = [
      finding(report),
      this.run === null ? gaps(report) : null,
      this.pictures(report),
      table(report),
      h("details", {}, h("summary", {}, "Circumstances"), circumstances(report)),
      h("div", { class: "row" }, share),
    ];
    const open = this.result.querySelector("details")?.open;
    this.result.replaceChildren(...parts.filter(Boolean));
    this.result.querySelector("details").open = Boolean(open);
  }

  /** The picture, and the choice of its axis where there are two. */
  pictures(report) {
    const able = Object.keys(COSTS).filter((cost) => picture(report, cost));
    if (!able.length) return null;
    const cost = able.includes(this.cost) ? this.cost : able[0];
    const choose = (event) => {
      this.cost = event.target.value;
      this.render();
      this.result.querySelector("input:checked")?.focus();
    };
    const option = (name) =>
      h(
        "label",
        { class: "segment" },
        h("input", { type: "radio", name: "cost", value: name, checked: name === cost, change: choose }),
        h("span", {}, COSTS[name].label),
      );
    const axis =
      able.length > 1
        ? h(
            "fieldset",
            { class: "segments" },
            h("legend", { class: "hidden" }, "Decode speed against"),
            able.map(option),
          )
        : null;
    return h("div", {}, axis, picture(report, cost));
  }

  async share() {
    const { files } = await call("report.share", { html: await reportPage(this.report) });
    if (!window.LowBit) notify(`Written: ${files.join(" and ")}, in the data folder.`);
  }
}
