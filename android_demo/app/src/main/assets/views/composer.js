/** The box to write in, with send or stop, and the meter of the context. */

import { attempt, h, icon } from "../dom.js";
import { promptTokens } from "../prompt.js";
import { chosen } from "../store.js";

export class Composer {
  /** @param {(text: string) => Promise<void>} send */
  constructor(talk, send) {
    this.talk = talk;
    this.send = send;
    this.box = h("textarea", {
      rows: "1",
      "aria-label": "Your text",
      enterkeyhint: "send",
      autocapitalize: "sentences",
    });
    this.button = h("button", { class: "primary round", type: "submit" });
    this.meter = h("progress", { max: "1", value: "0", "aria-label": "Context in use" });
    this.count = h("span", {});
    this.status = h("span", { class: "hidden", role: "status" });
    const line = h("form", { class: "write" }, this.box, this.button);
    this.element = h(
      "div",
      { class: "composer" },
      line,
      h("div", { class: "meter" }, this.meter, this.count),
      this.status,
    );
    line.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(() => (this.talk.running ? this.talk.stop() : this.submit(this.box.value)));
    });
    this.box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      if (!this.talk.running) line.requestSubmit();
    });
    this.box.addEventListener("input", () => this.typed());
  }

  focus() {
    this.box.focus();
  }

  /** Send a text and empty the box; a text that no program took comes back. */
  async submit(text) {
    if (!text.trim()) return;
    this.box.value = "";
    this.resize();
    try {
      await this.send(text);
    } catch (error) {
      this.box.value ||= text;
      this.typed();
      throw error;
    }
  }

  render(model, running) {
    this.button.replaceChildren(icon(running ? "stop" : "send"));
    this.button.setAttribute("aria-label", running ? "Stop" : "Send");
    this.button.disabled = !model;
    this.status.textContent = running ? "Writing" : "Ready";
    this.box.placeholder = model?.chat_template ? "Message" : "Your words";
    if (!running) this.countTokens();
  }

  typed() {
    this.resize();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.countTokens(), 250);
  }

  resize() {
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight, 160)}px`;
  }

  /** Count the tokens that the next answer would stand behind. */
  async countTokens() {
    const model = chosen();
    const { conversation } = this.talk;
    const asked = (this.asked = Symbol("the last question"));
    if (!model?.tokenizer) return;
    if (!this.box.value) {
      this.show(conversation.turns.at(-1)?.stats?.context_used ?? 0, model.max_seq_len);
      return;
    }
    const turns = [...conversation.turns, { role: "user", text: this.box.value }];
    try {
      const tokens = await promptTokens(model, { ...conversation, turns }, turns.length);
      if (this.asked === asked && !this.talk.running) this.show(tokens.length, model.max_seq_len);
    } catch (error) {
      if (this.asked === asked) this.count.textContent = error.message;
    }
  }

  /** Follow an answer that grows. */
  renderMeter(turn) {
    const { stream } = this.talk.running ?? {};
    if (stream && turn) this.show(stream.ids.length, chosen()?.max_seq_len ?? 0);
  }

  show(used, size) {
    const isFull = used > size;
    this.meter.value = size ? Math.min(1, used / size) : 0;
    this.element.classList.toggle("full", isFull);
    const words = `${used.toLocaleString("en")} of ${size.toLocaleString("en")} tokens`;
    this.count.textContent = isFull ? `${words}: too long, shorten it` : words;
  }
}
