/** Pre-tokenizers of tokenizer.json: functions from a text, and whether it begins the input, to a list of texts. */

import { SplitPreTokenizer } from "../vendor/tokenizers.js";
import { refuse } from "./refuse.js";
import { withPythonsCategories } from "./unicode.js";

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/** The characters that spell the 256 bytes in byte-level vocabularies, by byte. */
export const BYTE_CHARS = (() => {
  const isPrintable = (byte) => (byte >= 33 && byte <= 126) || (byte >= 161 && byte !== 173);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(isPrintable(byte) ? byte : next++));
})();

const MAKERS = {
  ByteLevel: byteLevel,
  Digits: (config) =>
    split(
      { pattern: { Regex: "\\p{N}" }, behavior: config.individual_digits ? "Isolated" : "Contiguous" },
      (t) => t,
    ),
  Metaspace: metaspace,
  Sequence: sequence,
  Split: (config) => split(config, withPythonsCategories),
};

/** Make a pre-tokenizer from its part of tokenizer.json, or from null. */
export function makePreTokenizer(config) {
  if (config === null) return (text) => [text];
  const make = MAKERS[config.type];
  return make ? make(config) : refuse(`the pre-tokenizer ${config.type}`);
}

function sequence(config) {
  const steps = config.pretokenizers.map(makePreTokenizer);
  return (text, isFirst) =>
    steps.reduce((texts, step) => texts.flatMap((each, index) => step(each, isFirst && index === 0)), [text]);
}

function byteLevel(config) {
  const encoder = new TextEncoder();
  const words =
    (config.use_regex ?? true)
      ? split({ pattern: { Regex: GPT2 }, behavior: "Isolated" }, withPythonsCategories)
      : (text) => [text];
  return (text) => {
    const spaced = config.add_prefix_space && !text.startsWith(" ") ? ` ${text}` : text;
    return words(spaced).map((word) => Array.from(encoder.encode(word), (byte) => BYTE_CHARS[byte]).join(""));
  };
}

function metaspace(config) {
  const mark = config.replacement;
  const scheme = config.prepend_scheme ?? "always";
  const cut = split({ pattern: { String: mark }, behavior: "MergedWithNext" }, (text) => text);
  return (text, isFirst) => {
    let marked = text.replaceAll(" ", mark);
    if (!marked.startsWith(mark) && (scheme === "always" || (scheme === "first" && isFirst)))
      marked = mark + marked;
    return (config.split ?? true) ? cut(marked) : [marked];
  };
}

/** Split at the matches of a pattern, which looks at `seen(text)`, a text of the same length. */
function split(config, seen) {
  const pattern = toRegExp(config.pattern);
  const join = BEHAVIORS[config.behavior] ?? refuse(`splits that are ${config.behavior}`);
  return (text) => {
    const parts = [];
    const add = (start, end, isMatch) => {
      if (end > start)
        parts.push({ text: text.slice(start, end), isMatch: isMatch !== Boolean(config.invert) });
    };
    let end = 0;
    for (const match of seen(text).matchAll(pattern)) {
      add(end, match.index, false);
      end = match.index + match[0].length;
      add(match.index, end, true);
    }
    add(end, text.length, false);
    return join(parts);
  };
}

/** What becomes of matches and the text between them. */
const BEHAVIORS = {
  Isolated: (parts) => parts.map((part) => part.text),
  Removed: (parts) => parts.filter((part) => !part.isMatch).map((part) => part.text),
  Contiguous: (parts) => glue(parts, (before, part) => before.isMatch === part.isMatch),
  MergedWithPrevious: (parts) => glue(parts, (before, part) => part.isMatch && !before.isMatch),
  MergedWithNext: (parts) => glue(parts, (before, part) => before.isMatch && !part.isMatch),
};

function glue(parts, belongs) {
  const texts = [];
  parts.forEach((part, index) => {
    if (index > 0 && belongs(parts[index - 1], part)) texts[texts.length - 1] += part.text;
    else texts.push(part.text);
  });
  return texts;
}

/** Translate a pattern for Oniguruma into the browser's; the library does not know its possessive quantifiers. */
export function toRegExp(pattern) {
  if (pattern.String !== undefined) return new SplitPreTokenizer({ pattern }).pattern;
  const bare = pattern.Regex.replace(/\\(?:[pP]\{[^}]*\}|.)/gs, "x").replace(/\[[^\]]*\]/g, "x");
  if (/\(\?>|[+*?]\+/.test(bare)) refuse(`the regular expression ${pattern.Regex}`);
  try {
    return new SplitPreTokenizer({ pattern: { Regex: foldedLikePython(pattern.Regex) } }).pattern;
  } catch {
    return refuse(`the regular expression ${pattern.Regex}`);
  }
}

/** Without regard to case, two letters beyond ASCII equal one of ASCII: the long s and the sign for kelvin. */
function foldedLikePython(regex) {
  return regex.replace(/\(\?i:((?:[^()\\])*)\)/g, (_, body) => {
    const folded = body.replace(/s/gi, "[sS\u017F]").replace(/k/gi, "[kK\u212A]");
    return `(?i:${folded})`;
  });
}
