/** Decoders of tokenizer.json: functions from the spellings of tokens to pieces of text. */

import { BYTE_CHARS } from "./pre_tokenizers.js";
import { refuse } from "./refuse.js";

const BYTE_OF_CHAR = new Map(BYTE_CHARS.map((char, byte) => [char, byte]));
const MAKERS = {
  ByteFallback: () => byteFallback,
  ByteLevel: () => byteLevel,
  Fuse: () => (pieces) => [pieces.join("")],
  Metaspace: metaspace,
  Replace: replace,
  Sequence: (config) => {
    const steps = config.decoders.map(makeDecoder);
    return (pieces) => steps.reduce((texts, step) => step(texts), pieces);
  },
  Strip: strip,
};

/** Make a decoder from its part of tokenizer.json, or from null. */
export function makeDecoder(config) {
  if (config === null) return (pieces) => [pieces.join(" ")];
  const make = MAKERS[config.type];
  return make ? make(config) : refuse(`the decoder ${config.type}`);
}

/** Read bytes as UTF-8 with a replacement character for what is none. */
export function utf8(bytes) {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

/** Read bytes as UTF-8 with a replacement character for each byte that is no part of a character. */
export function utf8ByteByByte(bytes) {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const length = bytes[at] < 0x80 ? 1 : bytes[at] < 0xe0 ? 2 : bytes[at] < 0xf0 ? 3 : 4;
    try {
      text += decoder.decode(Uint8Array.from(bytes.slice(at, at + length)));
      at += length;
    } catch {
      text += "\uFFFD";
      at += 1;
    }
  }
  return text;
}

function byteLevel(pieces) {
  const encoder = new TextEncoder();
  const bytes = pieces.flatMap((piece) => {
    const spelt = Array.from(piece, (char) => BYTE_OF_CHAR.get(char));
    return spelt.includes(undefined) ? [...encoder.encode(piece)] : spelt;
  });
  return [utf8(bytes)];
}

/** The byte that a token such as <0x0A> stands for, or null. */
export function byteOf(piece) {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(piece) ? Number.parseInt(piece.slice(3, 5), 16) : null;
}

function byteFallback(pieces) {
  const texts = [];
  let bytes = [];
  const flush = () => {
    try {
      texts.push(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes)));
    } catch {
      texts.push(...bytes.map(() => "\uFFFD"));
    }
    bytes = [];
  };
  for (const piece of pieces) {
    const byte = byteOf(piece);
    if (byte !== null) {
      bytes.push(byte);
      continue;
    }
    if (bytes.length) flush();
    texts.push(piece);
  }
  if (bytes.length) flush();
  return texts;
}

function metaspace(config) {
  const dropsFirst = (config.prepend_scheme ?? "always") !== "never";
  return (pieces) =>
    pieces.map((piece, index) => piece.replaceAll(config.replacement, dropsFirst && index === 0 ? "" : " "));
}

function replace(config) {
  const { String: from } = config.pattern;
  if (from === undefined) refuse("a decoder with a regular expression");
  return (pieces) => pieces.map((piece) => piece.split(from).join(config.content));
}

function strip({ content, start, stop }) {
  return (pieces) =>
    pieces.map((piece) => {
      const chars = [...piece];
      let from = 0;
      let to = chars.length;
      while (from < start && chars[from] === content) from += 1;
      while (chars.length - to < stop && to > from && chars[to - 1] === content) to -= 1;
      return chars.slice(from, to).join("");
    });
}
