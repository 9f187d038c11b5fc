/** What to compare: programs, lengths and rounds, with the time that this will take. */

import { attempt, h, icon } from "../dom.js";
import { call } from "../host.js";
import { chosen, nameOf, usable } from "../store.js";
import { bytes, counted, duration } from "../words.js";

/** Numbers of a request: name, label, its default, and whether it is a list. */
const NUMBERS = [
  { name: "rounds", label: "Rounds", value: "3", isList: false },
  { name: "prompt_tokens", label: "Prompt tokens", value: "128", isList: true },
  { name: "contexts", label: "Context tokens", value: "256", isList: true },
  { name: "generate", label: "Decoded tokens", value: "32", isList: false },
  { name: "threads", label: "Threads", value: "", isList: true },
];

export class ComparePlanForm {
  /** @param {(request: object) => Promise<void>} start */
  constructor(start) {
    this.unchosen = new Set(); // ids
    this.programs = h("div", { class: "choices" });
    this.inputs = new Map(NUMBERS.map((number) => [number.name, this.input(number)]));
    this.plan = h("p", { class: "lead plan", "aria-live": "polite" });
    this.notes = h("ul", { class: "notes" });
    this.button = h("button", { class: "primary", type: "submit" }, "Start");
    const fields = NUMBERS.map(({ name, label }) =>
      h("label", { class: "field" }, h("span", { class: "label" }, label), this.inputs.get(name)),
    );
    this.element = h(
      "form",
      { class: "plan-form" },
      h("fieldset", {}, h("legend", {}, "Programs"), this.programs),
      h(
        "details",
        {},
        h("summary", {}, icon("sliders"), "Lengths and rounds"),
        h("div", { class: "numbers" }, fields),
        h("small", { class: "lead" }, "Several with commas; threads empty for the fast cores and for one."),
      ),
      h("div", { class: "row" }, this.button, this.plan),
      this.notes,
    );
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(() => start(this.request()));
    });
  }

  input({ name, value }) {
    const input = h("input", { type: "text", inputmode: "numeric", value, name, autocomplete: "off" });
    input.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.estimate(), 250);
    });
    return input;
  }

  render() {
    const models = usable();
    const family = chosen()?.model;
    const option = (model) => {
      const change = (event) => {
        if (event.target.checked) this.unchosen.delete(model.id);
        else this.unchosen.add(model.id);
        this.estimate();
      };
      if (model.model !== family && !this.known?.has(model.id)) this.unchosen.add(model.id);
      const box = h("input", {
        type: "checkbox",
        value: model.id,
        checked: !this.unchosen.has(model.id),
        change,
      });
      const name = models.every((each) => each.model === model.model)
        ? nameOf(model)
        : `${model.model} ${nameOf(model)}`;
      return h(
        "label",
        { class: "choice" },
        box,
        h("span", {}, name, h("small", {}, bytes(model.file_bytes))),
      );
    };
    this.programs.replaceChildren(...models.map(option));
    this.known = new Set(models.map((model) => model.id));
    this.estimate();
  }

  /** The request of a plan; throws a sentence where a field is no number. */
  request() {
    const models = usable()
      .map((model) => model.id)
      .filter((id) => !this.unchosen.has(id));
    const request = { models };
    for (const { name, label, isList } of NUMBERS) {
      const words = this.inputs
        .get(name)
        .value.split(/[\s,]+/)
        .filter(Boolean);
      if (!words.length && name === "threads") continue;
      const numbers = words.map(Number);
      const isRight =
        numbers.length &&
        numbers.every((each) => Number.isInteger(each) && each > 0) &&
        (isList || numbers.length === 1);
      if (!isRight)
        throw new Error(`${label} must be ${isList ? "whole numbers" : "one whole number"} above 0.`);
      request[name] = isList ? numbers : numbers[0];
    }
    return request;
  }

  /** Ask the app how long it will take. */
  async estimate() {
    const asked = (this.asked = Symbol("the last question"));
    let words;
    let notes = [];
    let isPossible = true;
    try {
      const plan = await call("compare.plan", this.request());
      words = `about ${duration(plan.seconds)}, ${counted(plan.steps, "step")}`;
      if (plan.opponents.length) words += `, with ${counted(plan.opponents.length, "XNNPACK opponent")}`;
      notes = plan.notes;
    } catch (error) {
      words = error.message;
      isPossible = false;
    }
    if (this.asked !== asked) return;
    this.plan.textContent = words;
    this.plan.classList.toggle("wrong", !isPossible);
    this.button.disabled = !isPossible;
    this.notes.replaceChildren(...notes.map((note) => h("li", {}, note)));
  }
}
