/** The slider for the width of an elastic program, also while it answers. */

import { attempt, h } from "../dom.js";
import { isElastic, set, store } from "../store.js";
import { bits } from "../words.js";

export class WidthSlider {
  constructor(talk) {
    this.talk = talk;
    this.isSending = false;
    this.shown = h("output", {});
    this.input = h("input", { type: "range", name: "elastic", step: "1", "aria-label": "Width" });
    this.element = h(
      "div",
      { class: "width-slider", hidden: true },
      h("span", { class: "label" }, "Width", this.shown),
      this.input,
      h("small", {}, "Fewer bits: faster, less memory, less exact."),
    );
    this.input.addEventListener("input", () => {
      this.showValue();
      attempt(() => this.send());
    });
  }

  /** Show the width in the settings, if one of the programs is elastic. */
  render(models) {
    const model = models.find(isElastic);
    this.element.hidden = !model;
    if (!model) return;
    this.input.min = model.widths[0];
    this.input.max = model.widths.at(-1);
    if (!this.isSending) this.input.value = store.settings.width || this.input.max;
    this.showValue();
  }

  showValue() {
    this.shown.textContent = bits(this.input.valueAsNumber);
  }

  /** Bring the settings and the answer to the slider's width, which may move on meanwhile. */
  async send() {
    if (this.isSending) return;
    this.isSending = true;
    try {
      while (store.settings.width !== this.input.valueAsNumber) {
        await set({ width: this.input.valueAsNumber });
        await this.talk.applyWidth();
      }
    } finally {
      this.isSending = false;
    }
  }
}
