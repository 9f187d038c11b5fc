/** Text to ids and back, from either tokenizer file, with the ids of Python's `edge.model.tokenizer.Tokenizer`. */

import { SentencePieceTokenizer } from "./sentencepiece.js";
import { JsonTokenizer } from "./tokenizer_json.js";
import { wellFormed } from "./unicode.js";

export class Tokenizer {
  /**
   * @param {string} name of the file, which tells its kind
   * @param {Uint8Array} bytes its content
   * @throws {Error} with a sentence, if it cannot be read, or not exactly
   */
  constructor(name, bytes) {
    this.backend = open(name, bytes);
    this.vocabSize = this.backend.vocabSize;
  }

  /** Ids of a text, without begin or end markers. */
  encode(text) {
    return this.backend.encode(wellFormed(text));
  }

  /** Text of ids; markers and ids beyond the vocabulary, which pad the model, are left out. */
  decode(ids) {
    return this.backend.decode(ids.filter((id) => id < this.vocabSize));
  }

  /** Tell whether an id is a marker, such as the end of a text. */
  isMarker(id) {
    return this.backend.isMarker(id);
  }
}

function open(name, bytes) {
  if (!name.endsWith(".json")) return new SentencePieceTokenizer(bytes);
  let file;
  try {
    file = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Error(`${name} is not JSON; export the program again.`);
  }
  return new JsonTokenizer(file);
}

/** Turn ids into text piece by piece; the bytes of an incomplete character wait for the rest. */
export class TextStream {
  /** @param {number[]} prompt ids in front, whose text is not part of the stream */
  constructor(tokenizer, prompt) {
    this.tokenizer = tokenizer;
    this.ids = [...prompt];
    this.shown = tokenizer.decode(this.ids).length;
  }

  /** The text that ids add. */
  add(ids) {
    this.ids.push(...ids);
    const text = this.tokenizer.decode(this.ids).replace(/\uFFFD+$/, "");
    const piece = text.slice(this.shown);
    this.shown = Math.max(this.shown, text.length);
    return piece;
  }
}
