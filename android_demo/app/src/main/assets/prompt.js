/**
 * The tokens that a program is asked to continue.
 *
 * A conversation is a list of turns. Answers that follow each other answer the same text by different programs; in the
 * prompt of a later turn stands the one by the same program, or else the first.
 */

import { tokenizerOf, templateOf } from "./programs.js";
import { modelOf } from "./store.js";

/** Tokens in front of the answer at a place among the turns, for a program. */
export async function promptTokens(model, conversation, index) {
  const [tokenizer, template] = await Promise.all([tokenizerOf(model), templateOf(model)]);
  const turns = turnsBefore(conversation.turns, index, model.id);
  if (template) return tokenizer.encode(template.render(messagesOf(conversation.system, turns)));
  const last = turns.at(-2);
  if (turns.at(-1)?.text === "" && last?.ids && modelOf(last.model)?.model === model.model) {
    const earlier = await promptTokens(model, conversation, conversation.turns.indexOf(last));
    return [...earlier, ...last.ids];
  }
  return [model.bos_id, ...tokenizer.encode(turns.map((turn) => turn.text).join(""))];
}

/** The turns that a prompt consists of: one answer to each text. */
function turnsBefore(turns, index, model) {
  const groups = groupsOf(turns.slice(0, index));
  if (groups.at(-1)?.answers.length) groups.at(-1).answers = []; // other answers to the same text
  return groups.flatMap(({ user, answers }) => {
    const answer = answers.find((each) => each.model === model) ?? answers[0];
    return [user, answer].filter(Boolean);
  });
}

/** Turns as texts of the user, each with its answers. */
export function groupsOf(turns) {
  const groups = [];
  for (const turn of turns) {
    if (turn.role === "user" || !groups.length)
      groups.push({ user: turn.role === "user" ? turn : null, answers: [] });
    if (turn.role === "assistant") groups.at(-1).answers.push(turn);
  }
  return groups;
}

function messagesOf(system, turns) {
  const messages = turns.filter((turn) => turn.text).map((turn) => ({ role: turn.role, content: turn.text }));
  return system ? [{ role: "system", content: system }, ...messages] : messages;
}

/** The user's text as it goes on after what stands in front of it in a story. */
export function joined(turns, text) {
  const before = turns.at(-1)?.text ?? "";
  const needsSpace = before && text && !/\s$/.test(before) && !/^[\s.,;:!?'’)\]]/.test(text);
  return needsSpace ? ` ${text}` : text;
}
