/** The tokenizer and the chat template of a program, read once. */

import { fileOf } from "./host.js";
import { ChatTemplate } from "./text/chat_template.js";
import { Tokenizer } from "./text/tokenizer.js";

const read = new Map(); // promises by program and file

/** The tokenizer of a program; rejects with a sentence if it has none or cannot be read exactly. */
export function tokenizerOf(model) {
  if (model.tokenizer === null)
    return Promise.reject(new Error("This program has no tokenizer, so it cannot read text."));
  return once(model, model.tokenizer, (bytes) => {
    const tokenizer = new Tokenizer(model.tokenizer, bytes);
    if (tokenizer.vocabSize > model.vocab_size) {
      throw new Error("The tokenizer does not fit this program; export the program again.");
    }
    return tokenizer;
  });
}

/** The chat template of a program; null for one that continues text. */
export function templateOf(model) {
  if (model.chat_template === null) return Promise.resolve(null);
  const parse = (bytes) => new ChatTemplate(new TextDecoder().decode(bytes), model.markers);
  return once(model, model.chat_template, parse);
}

function once(model, name, parse) {
  const key = `${model.id}/${name}`;
  if (!read.has(key)) {
    const promise = fileOf(model.id, name).then(parse);
    promise.catch(() => read.delete(key));
    read.set(key, promise);
  }
  return read.get(key);
}
