/** A tokenizer.model of SentencePiece, read so that its ids equal those of Python's `sentencepiece`. */

import { BPE } from "../vendor/tokenizers.js";
import { AddedTokens } from "./added_tokens.js";
import { CharsMap } from "./charsmap.js";
import { byteOf, utf8, utf8ByteByByte } from "./decoders.js";
import { fieldsOf } from "./protobuf.js";
import { refuse } from "./refuse.js";
import { byteIds } from "./tokenizer_json.js";
import { Unigram } from "./unigram.js";

const SPACE = "\u2581";
const [NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE] = [1, 2, 3, 4, 5, 6];
const [UNIGRAM, BYTE_PAIRS] = [1, 2];

export class SentencePieceTokenizer {
  constructor(bytes) {
    const { pieces, trainer, normalizer } = readModel(bytes);
    if (trainer.isSuffix) refuse("spaces behind words");
    if (![UNIGRAM, BYTE_PAIRS].includes(trainer.kind)) refuse("words or characters as pieces");
    if (pieces.some((piece) => piece.type === UNUSED)) refuse("unused pieces");
    this.pieces = pieces;
    this.vocabSize = pieces.length;
    this.unknown = pieces.findIndex((piece) => piece.type === UNKNOWN);
    this.unknownText = trainer.unknownText;
    const numbered = pieces.map((piece, id) => ({ ...piece, id }));
    const idsOf = (...types) =>
      new Map(numbered.filter((each) => types.includes(each.type)).map((each) => [each.text, each.id]));
    this.bytes = idsOf(BYTE);
    this.ids = idsOf(NORMAL, USER_DEFINED);
    const spelt = numbered.filter((piece) => this.ids.get(piece.text) === piece.id);
    const whole = numbered.filter((piece) => piece.type === USER_DEFINED);
    this.normalizer = new Normalizer(normalizer, whole);
    this.split = trainer.kind === BYTE_PAIRS ? mergesOf(spelt) : bestPathOf(spelt);
    this.settings = normalizer;
  }

  encode(text) {
    const ids = [];
    let wasUnknown = false;
    for (const piece of this.split(this.normalizer.normalize(text))) {
      const id = this.ids.get(piece);
      if (id !== undefined) ids.push(id);
      else if (this.bytes.size) ids.push(...byteIds(piece, this.bytes));
      else if (!wasUnknown) ids.push(this.unknown);
      wasUnknown = id === undefined;
    }
    return ids;
  }

  decode(ids) {
    let text = "";
    let bytes = [];
    let isStart = true;
    for (const id of [...ids, null]) {
      const piece = id === null ? null : this.pieces[id];
      if (piece?.type === BYTE) {
        bytes.push(byteOf(piece.text));
        continue;
      }
      text += utf8ByteByByte(bytes);
      isStart &&= !bytes.length;
      bytes = [];
      if (piece === null || piece.type === CONTROL) continue;
      const spelt = piece.type === UNKNOWN ? this.unknownText : this.spell(piece.text, isStart);
      isStart &&= this.settings.trims && !spelt;
      text += spelt;
    }
    return text;
  }

  spell(piece, isStart) {
    const { addsPrefix, trims } = this.settings;
    const own = isStart && (addsPrefix || trims) && piece.startsWith(SPACE) ? piece.slice(1) : piece;
    return own.replaceAll(SPACE, " ");
  }

  isMarker(id) {
    return this.pieces[id]?.type === CONTROL;
  }
}

/** Byte-pair merges: the pair whose whole has the highest score goes first, then the leftmost. */
function mergesOf(pieces) {
  const vocab = Object.fromEntries(pieces.map((piece) => [piece.text, piece.id]));
  const library = new BPE({ vocab, merges: [] });
  const isSymbol = (text) => Object.hasOwn(vocab, text) || [...text].length === 1;
  const byScore = pieces.filter((piece) => piece.type === NORMAL).sort((a, b) => b.score - a.score);
  let rank = 0;
  byScore.forEach(({ text, score }, index) => {
    if (index && score < byScore[index - 1].score) rank += 1;
    const chars = [...text];
    for (let cut = 1; cut < chars.length; cut += 1) {
      const pair = [chars.slice(0, cut).join(""), chars.slice(cut).join("")];
      if (pair.every(isSymbol)) library.bpe_ranks.set(JSON.stringify(pair), rank);
    }
  });
  const whole = new AddedTokens(pieces.filter((piece) => piece.type === USER_DEFINED).map(asAdded));
  const texts = new Map(pieces.map((piece) => [piece.id, piece.text]));
  return (text) =>
    whole.split(text).flatMap((part) => (part.text ? library.bpe(part.text) : [texts.get(part.id)]));
}

function asAdded(piece) {
  return { id: piece.id, content: piece.text, lstrip: false, rstrip: false };
}

function bestPathOf(pieces) {
  const normal = pieces.filter((piece) => piece.type === NORMAL).map((piece) => piece.score);
  const highest = normal.reduce((most, score) => Math.max(most, score), -Infinity);
  const bytes = (text) => new TextEncoder().encode(text).length;
  const scores = new Map(
    pieces.map(({ text, score, type }) => [
      text,
      type === USER_DEFINED ? bytes(text) * highest - 0.1 : score,
    ]),
  );
  const lowest = normal.reduce((least, score) => Math.min(least, score), Infinity);
  const search = new Unigram(scores, lowest, Math.fround);
  return (text) => search.split(text);
}

/** Normalise a text by the model's own table, and mark and trim its spaces. */
class Normalizer {
  constructor(settings, wholePieces) {
    this.settings = settings;
    this.map = new CharsMap(settings.charsMap);
    this.whole = new AddedTokens(wholePieces.map(asAdded));
    this.wholeTexts = new Map(wholePieces.map((piece) => [piece.id, piece.text]));
  }

  normalize(text) {
    const { addsPrefix, trims, marks } = this.settings;
    const parts = this.parts(text);
    while (trims && parts[0] === " ") parts.shift();
    if (!parts.length) return "";
    let result = addsPrefix ? " " : "";
    let wasSpace = trims;
    for (const part of parts) {
      const own = wasSpace ? part.replace(/^ +/, "") : part;
      result += own;
      if (own) wasSpace = trims && own.endsWith(" ");
    }
    const marked = marks ? result.replaceAll(" ", SPACE) : result;
    return trims ? marked.replace(marks ? /\u2581+$/ : / +$/, "") : marked;
  }

  /** What stands for each part of the text: an entry of the table, a piece of the user's, or a character. */
  parts(text) {
    return this.whole.split(text).flatMap((part) => {
      if (part.text === undefined) return [this.wholeTexts.get(part.id)];
      const bytes = new TextEncoder().encode(part.text);
      const texts = [];
      for (let at = 0; at < bytes.length;) {
        const [length, replacement] = this.map.longest(bytes, at) ?? characterAt(bytes, at);
        texts.push(utf8(replacement));
        at += length;
      }
      return texts;
    });
  }
}

function characterAt(bytes, at) {
  let end = at + 1;
  while ((bytes[end] & 0xc0) === 0x80) end += 1;
  return [end - at, bytes.subarray(at, end)];
}

function readModel(file) {
  const pieces = [];
  const trainer = { kind: UNIGRAM, isSuffix: false, unknownText: " \u2047 " };
  const normalizer = { charsMap: new Uint8Array(0), addsPrefix: true, trims: true, marks: true };
  try {
    for (const [number, value] of fieldsOf(file)) {
      if (number === 1) pieces.push(readPiece(value));
      else if (number === 2) readTrainer(value, trainer);
      else if (number === 3) readNormalizer(value, normalizer);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    pieces.length = 0;
  }
  if (!pieces.length)
    throw new Error("tokenizer.model is not a model of SentencePiece; export the program again.");
  return { pieces, trainer, normalizer };
}

function readPiece(message) {
  const piece = { text: "", score: 0, type: NORMAL };
  for (const [number, value] of fieldsOf(message)) {
    if (number === 1) piece.text = utf8(value);
    else if (number === 2) piece.score = value;
    else if (number === 3) piece.type = value;
  }
  return piece;
}

function readTrainer(message, trainer) {
  for (const [number, value] of fieldsOf(message)) {
    if (number === 3) trainer.kind = value;
    else if (number === 24) trainer.isSuffix = Boolean(value);
    else if (number === 44) trainer.unknownText = utf8(value);
  }
}

function readNormalizer(message, normalizer) {
  for (const [number, value] of fieldsOf(message)) {
    if (number === 2) normalizer.charsMap = value;
    else if (number === 3) normalizer.addsPrefix = Boolean(value);
    else if (number === 4) normalizer.trims = Boolean(value);
    else if (number === 5) normalizer.marks = Boolean(value);
  }
}
