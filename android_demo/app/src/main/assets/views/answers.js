/** What was said: the user's texts, and the answers to each, side by side where there are several. */

import { attempt, h } from "../dom.js";
import { groupsOf } from "../prompt.js";
import { chosen, modelOf, nameOf } from "../store.js";
import { bits, bytes, rate, significant } from "../words.js";

/** Elements for all turns; `elements` gets that of each answer. */
export function renderGroups(talk, elements) {
  const groups = groupsOf(talk.conversation.turns);
  return groups.map((group, index) => renderGroup(talk, group, index === groups.length - 1, elements));
}

function renderGroup(talk, { user, answers }, isLast, elements) {
  const isStory = modelOf(answers[0]?.model)?.chat_template === null;
  const made = answers.map((turn) =>
    renderAnswer(turn, talk.running, isStory && answers.length === 1 ? user : null),
  );
  answers.forEach((turn, index) => elements.set(turn, made[index]));
  const asked =
    user?.text && !(isStory && answers.length === 1)
      ? h("p", { class: isStory ? "opening" : "asked" }, user.text)
      : null;
  const columns = h("div", { class: answers.length > 1 ? "answers beside" : "answers" }, made);
  const actions = isLast && !talk.running ? renderActions(talk, answers, isStory) : null;
  return h(
    "section",
    { class: isStory ? "group story" : "group" },
    asked,
    columns,
    comparison(answers),
    actions,
  );
}

function renderAnswer(turn, running, user) {
  const model = modelOf(turn.model);
  const text = h(
    "p",
    { class: "text" },
    user ? h("span", { class: "given" }, user.text) : null,
    h("span", { class: "written" }, turn.text),
  );
  const name = h("h2", { class: "author" }, model ? nameOf(model) : "Deleted program");
  const element = h("article", { class: "answer" }, name, text, h("footer", { class: "figures" }));
  renderGrowth(element, turn, running);
  return element;
}

/** Bring the text and the figures of an answer up to date. */
export function renderGrowth(element, turn, running) {
  const isRunning = running?.turn === turn;
  const followsText = element.querySelector(".given") !== null;
  element.querySelector(".written").textContent = followsText ? turn.text : turn.text.trimStart();
  element.classList.toggle("running", isRunning);
  element
    .querySelector(".figures")
    .replaceChildren(...(isRunning ? liveFigures(turn, running) : figures(turn)));
}

function liveFigures(turn, { firstAt }) {
  const seconds = firstAt === null ? 0 : (performance.now() - firstAt) / 1000;
  if (turn.ids.length < 2 || seconds < 0.2) return [h("span", {}, turn.ids.length ? "writing" : "reading")];
  return [figure(`≈ ${significant(turn.ids.length / seconds)} tok/s`, "so far", "main")];
}

function figures({ stats, partial, ids }) {
  if (!stats) return partial && ids?.length ? [h("span", { class: "cut" }, "Interrupted")] : [];
  const ends = { stopped: "Stopped", context: "Context full", length: "Length reached" };
  return [
    stats.widths?.length ? figure(widthsIn(stats), "width") : null,
    figure(rate(stats.decode_tokens_per_second), "decode", "main"),
    figure(
      rate(stats.prefill_tokens_per_second),
      `prefill of\u00a0${stats.prompt_tokens - stats.reused_tokens}`,
    ),
    figure(stats.first_token_ms === null ? "–" : `${significant(stats.first_token_ms)} ms`, "first token"),
    figure(bytes(stats.resident_bytes), "memory"),
    ends[stats.end] ? h("span", { class: "cut" }, ends[stats.end]) : null,
  ].filter(Boolean);
}

/** "4 bits"; "8, 2 bits" where the width changed in between. */
function widthsIn({ widths }) {
  const before = widths.slice(0, -1).map((run) => `${run.bits}, `);
  return `${before.join("")}${bits(widths.at(-1).bits)}`;
}

function figure(value, name, kind = "") {
  return h("span", { class: `figure ${kind}` }, h("b", {}, value), ` ${name}`);
}

/** A sentence on the speeds of two answers. */
function comparison(answers) {
  const [a, b] = answers.map((turn) => ({
    model: modelOf(turn.model),
    stats: turn.stats,
    speed: turn.stats?.decode_tokens_per_second,
  }));
  if (answers.length !== 2 || !a.model || !b.model || !a.speed || !b.speed) return null;
  const [fast, slow] = a.speed >= b.speed ? [a, b] : [b, a];
  const times = (fast.speed / slow.speed).toFixed(2);
  return h(
    "p",
    { class: "comparison" },
    h("b", {}, `${nameIn(fast)} decoded ${times} times as fast as ${nameIn(slow)}`),
    ", in this one run.",
  );
}

/** A program's name, and the width that it had in an answer. */
function nameIn({ model, stats }) {
  return stats.widths?.length ? `${nameOf(model)} at ${widthsIn(stats)}` : nameOf(model);
}

function renderActions(talk, answers, isStory) {
  const model = chosen();
  const act = (label, action) => h("button", { class: "chip", click: () => attempt(action) }, label);
  const last = answers.at(-1);
  const buttons = [];
  if (model && !answers.some((turn) => turn.model === model.id)) {
    buttons.push(
      act(answers.length ? `Same prompt at ${nameOf(model)}` : `Answer with ${nameOf(model)}`, () =>
        talk.answerToo(model),
      ),
    );
  } else if (last && isStory && model) {
    buttons.push(act("Go on", () => talk.send("", [model])));
  }
  if (last && answers.length === 1) buttons.push(act("Try again", () => talk.retry(last)));
  return h("div", { class: "row actions" }, buttons);
}
