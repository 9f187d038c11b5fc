/** The view of one conversation: which program answers, what was said, and the box to write in. */

import { attempt, h, icon, notify } from "../dom.js";
import { chosen, store, usable, watch } from "../store.js";
import { Talk } from "../talk.js";
import { renderGrowth, renderGroups } from "./answers.js";
import { Composer } from "./composer.js";
import { openHistory } from "./history.js";
import { openSampling } from "./sampling.js";
import { besideToggle, widthPicker } from "./width_picker.js";
import { WidthSlider } from "./width_slider.js";

const STARTS = ["Once upon a time", "One day, a little dog", "Lily found a small red box"];
const QUESTIONS = ["Tell me a short story.", "What can you do?", "Write a line about the sea."];

export async function showChat(main) {
  const chat = new Chat(main);
  await attempt(() => chat.talk.resume());
  watch(() => chat.render());
}

class Chat {
  constructor(main) {
    this.talk = new Talk(
      (turn) => (turn ? this.grow(turn) : this.render()),
      (error) => notify(error.message, "error"),
    );
    this.title = h("h1", { class: "chat-title" });
    this.pickers = h("div", { class: "programs-to-pick" });
    this.slider = new WidthSlider(this.talk);
    this.transcript = h("div", {
      class: "transcript",
      tabindex: "0",
      role: "log",
      "aria-live": "off",
      "aria-label": "Conversation",
    });
    this.composer = new Composer(this.talk, (text) => this.send(text));
    this.beside = besideToggle();
    const list = h(
      "button",
      { class: "quiet round", "aria-label": "Conversations", click: () => openHistory(this.talk) },
      icon("list"),
    );
    const fresh = h(
      "button",
      { class: "quiet round", "aria-label": "New conversation", click: () => this.begin() },
      icon("add"),
    );
    const settings = h(
      "button",
      { class: "quiet round", "aria-label": "Sampling settings", click: () => openSampling(this.talk) },
      icon("sliders"),
    );
    const head = h("header", { class: "chat-head" }, list, this.title, this.beside, fresh, settings);
    const top = h("div", { class: "pickers" }, this.pickers, this.slider.element);
    main.append(h("div", { class: "chat-top" }, head, top), this.transcript, this.composer.element);
    this.elements = new Map(); // of the answers that are shown, by turn
  }

  begin() {
    attempt(async () => {
      await this.talk.begin();
      this.composer.focus();
    });
  }

  async send(text) {
    const first = chosen();
    if (!first) throw new Error("There is no program to answer; add one under Models.");
    const second = this.second();
    await this.talk.send(text, second ? [first, second] : [first]);
  }

  /** The program that answers beside the chosen one; undefined for none. */
  second() {
    const second = usable().find((model) => model.id === store.settings.side_by_side);
    return second?.id === chosen()?.id ? undefined : second;
  }

  render() {
    const { conversation, running } = this.talk;
    const model = chosen();
    this.title.textContent = conversation.title || (model?.chat_template ? "New conversation" : "New story");
    const second = this.second();
    this.beside.setAttribute("aria-pressed", String(Boolean(second)));
    const focused = this.pickers.contains(document.activeElement) ? document.activeElement.name : null;
    this.pickers.replaceChildren(...widthPicker(second));
    if (focused) this.pickers.querySelector(`[name=${focused}]:checked`)?.focus();
    this.slider.render([model, second]);
    this.elements.clear();
    const groups = renderGroups(this.talk, this.elements);
    this.transcript.replaceChildren(...(groups.length ? groups : [this.welcome(model)]));
    this.composer.render(model, running);
    this.follow();
  }

  /** Show more of the answer that is being generated. */
  grow(turn) {
    const element = this.elements.get(turn);
    if (!element) return;
    const nearEnd =
      this.transcript.scrollHeight - this.transcript.scrollTop - this.transcript.clientHeight < 80;
    renderGrowth(element, turn, this.talk.running);
    if (nearEnd) this.follow();
    this.composer.renderMeter(turn);
  }

  follow() {
    this.transcript.scrollTop = this.transcript.scrollHeight;
  }

  welcome(model) {
    if (!model) {
      return h(
        "div",
        { class: "welcome" },
        h("h2", {}, "No program yet"),
        h("p", {}, "Add one under ", h("a", { href: "#models" }, "Models"), "."),
      );
    }
    const isStory = model.chat_template === null;
    const use = (text) => () => attempt(() => this.composer.submit(text));
    return h(
      "div",
      { class: "welcome" },
      h("h2", {}, isStory ? "Begin a story" : "Ask something"),
      h(
        "p",
        {},
        isStory
          ? "The model writes on from your words, on this device alone."
          : "The model answers on this device alone.",
      ),
      h(
        "div",
        { class: "starts" },
        (isStory ? STARTS : QUESTIONS).map((text) => h("button", { class: "chip", click: use(text) }, text)),
      ),
    );
  }
}
