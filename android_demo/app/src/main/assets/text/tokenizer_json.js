/** A tokenizer.json of Hugging Face, read so that its ids equal those of Python's `tokenizers`. */

import { BPE } from "../vendor/tokenizers.js";
import { AddedTokens } from "./added_tokens.js";
import { makeDecoder } from "./decoders.js";
import { BYTE_CHARS, makePreTokenizer, toRegExp } from "./pre_tokenizers.js";
import { allowOnly, refuse } from "./refuse.js";
import { Unigram } from "./unigram.js";
import { toNfc } from "./unicode.js";

const NOTHING = [null, undefined, ""];

export class JsonTokenizer {
  constructor(file) {
    const added = file.added_tokens ?? [];
    const normalize = makeNormalizer(file.normalizer ?? null);
    this.normalize = normalize;
    this.preTokenize = makePreTokenizer(file.pre_tokenizer ?? null);
    this.model = makeModel(file.model, file.pre_tokenizer ?? null);
    this.decoder = makeDecoder(file.decoder ?? null);
    checkAddedTokens(added, this.model.ids);
    const asWritten = added.filter((token) => !token.normalized);
    const normalized = added
      .filter((token) => token.normalized)
      .map((token) => ({ ...token, content: normalize(token.content) }));
    this.written = new AddedTokens(asWritten);
    this.normalized = new AddedTokens(normalized);
    this.leftOut = new Set(added.filter((token) => token.special).map((token) => token.content));
    this.markers = new Set(added.filter((token) => token.special).map((token) => token.id));
    this.spellings = new Map([...this.model.ids].map(([piece, id]) => [id, piece]));
    for (const { id, content } of [...asWritten, ...normalized]) this.spellings.set(id, content);
    this.vocabSize = 1 + [...this.spellings.keys()].reduce((most, id) => Math.max(most, id), -1);
  }

  encode(text) {
    return this.written.split(text).flatMap((part) => {
      if (part.id !== undefined) return [part.id];
      return this.normalized.split(this.normalize(part.text)).flatMap((inner) => {
        if (inner.id !== undefined) return [inner.id];
        const words = this.preTokenize(inner.text, part.start === 0 && inner.start === 0);
        return words.filter((word) => word).flatMap((word) => this.model.encode(word));
      });
    });
  }

  decode(ids) {
    const pieces = ids.map((id) => this.spellings.get(id));
    return this.decoder(pieces.filter((piece) => piece !== undefined && !this.leftOut.has(piece))).join("");
  }

  isMarker(id) {
    return this.markers.has(id);
  }
}

function makeNormalizer(config) {
  switch (config?.type) {
    case undefined:
      return (text) => text;
    case "NFC":
      return toNfc;
    case "Prepend":
      return (text) => (text ? config.prepend + text : text);
    case "Replace": {
      const pattern = toRegExp(config.pattern);
      return (text) => text.replace(pattern, () => config.content);
    }
    case "Sequence": {
      const steps = config.normalizers.map(makeNormalizer);
      return (text) => steps.reduce((so_far, step) => step(so_far), text);
    }
    default:
      return refuse(`the normalizer ${config.type}`);
  }
}

/** Python numbers added tokens itself and ignores the file's numbers. */
function checkAddedTokens(added, ids) {
  let next = ids.size;
  for (const token of added) {
    if (token.single_word) refuse(`added tokens that are whole words (${token.content})`);
    const known = ids.get(token.content);
    if (token.id !== (known ?? next)) refuse(`an id of its own for the added token ${token.content}`);
    if (known === undefined) next += 1;
  }
}

function makeModel(model, preTokenizer) {
  const type = model.type ?? (Array.isArray(model.vocab) ? "Unigram" : model.merges && "BPE");
  if (type === "BPE") return new BytePairModel(model, usesByteLevel(preTokenizer));
  if (type === "Unigram") return new UnigramModel(model);
  return refuse(`the model ${model.type}`);
}

function usesByteLevel(config) {
  return config?.type === "ByteLevel" || Boolean(config?.pretokenizers?.some(usesByteLevel));
}

class BytePairModel {
  constructor(model, isByteLevel) {
    const plain = { dropout: NOTHING, continuing_subword_prefix: NOTHING, end_of_word_suffix: NOTHING };
    allowOnly({ ...model, type: "BPE" }, plain);
    this.ids = new Map(Object.entries(model.vocab));
    this.unknown = this.ids.get(model.unk_token ?? undefined);
    this.fusesUnknown = Boolean(model.fuse_unk);
    if (this.unknown === undefined && !(isByteLevel && BYTE_CHARS.every((char) => this.ids.has(char)))) {
      refuse("a vocabulary that cannot spell every text");
    }
    this.library = new BPE({ ...model, unk_token: model.unk_token ?? undefined });
  }

  encode(word) {
    const ids = this.library.encode([word]).map((piece) => this.ids.get(piece));
    return this.fusesUnknown ? ids.filter((id, i) => id !== this.unknown || ids[i - 1] !== id) : ids;
  }
}

class UnigramModel {
  constructor(model) {
    if (!Number.isInteger(model.unk_id)) refuse("a vocabulary without an entry for unknown characters");
    this.ids = new Map(model.vocab.map(([piece], id) => [piece, id]));
    this.unknown = model.unk_id;
    this.fallsBack = Boolean(model.byte_fallback);
    const scores = new Map(model.vocab);
    this.search = new Unigram(scores, Math.min(...scores.values()), (sum) => sum);
  }

  encode(word) {
    return this.search.split(word).flatMap((piece) => {
      const id = this.ids.get(piece);
      if (id !== undefined) return [id];
      const bytes = this.fallsBack ? byteIds(piece, this.ids) : [undefined];
      return bytes.includes(undefined) ? [this.unknown] : bytes;
    });
  }
}

/** Ids of the tokens that stand for the bytes of a text; undefined for those that are missing. */
export function byteIds(text, ids) {
  const bytes = new TextEncoder().encode(text);
  return Array.from(bytes, (byte) => ids.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`));
}
