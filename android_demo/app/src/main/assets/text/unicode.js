/**
 * Characters that Python's libraries and a browser treat differently, because each knows another version of Unicode.
 *
 * The libraries do not know these characters, so they are neither letters nor digits to them, and normalisation
 * leaves them alone. What a version after 17 adds is not here: a browser may split it differently.
 */

/** Written as "hex" or "hex-hex"; categories of Unicode 17, which Python's regular expressions (16) lack. */
const UNKNOWN_CATEGORY =
  "88f c5c cdc 1acf-1add 1ae0-1aeb 20c1 2b96 a7ce-a7cf a7d2 a7d4 a7f1 fbc3-fbd2 fd90-fd91 fdc8-fdce " +
  "10940-10959 10ec5-10ec7 10ed0-10ed8 10efa-10efb 11b60-11b67 11db0-11ddb 11de0-11de9 16ea0-16eb8 " +
  "16ebb-16ed3 16ff2-16ff6 187f8-187ff 18d09-18d1e 18d80-18df2 1ccfa-1ccfc 1ceba-1ced0 1cee0-1cef0 " +
  "1e6c0-1e6de 1e6e0-1e6f5 1e6fe-1e6ff 1f6d8 1f777-1f77a 1f8d0-1f8d8 1fa54-1fa57 1fa8a 1fa8e 1fac8 1facd " +
  "1faea 1faef 1fbfa 2b73a-2b73f 2cea2-2cead 323b0-33479";

/** Accents and composed characters that Python's normalisation lacks. */
const UNKNOWN_TO_NFC =
  "7fd 897-89f 8ca-8d3 9fe c3c d3b-d3c eba 1715 1abf-1add 1ae0-1aeb 1df6-1dfa a82c 105c9 105d2 105da 105e4 " +
  "10d24-10d27 10d69-10d6d 10eab-10eac 10efa-10efb 10efd-10eff 10f46-10f50 10f82-10f85 11070 1133b " +
  "11382-11385 1138b 1138e 11390-11391 113b8 113bb 113c2 113c5 113c7-113c9 113ce-113d0 1145e 11839-1183a " +
  "11930 11935 11938 1193d-1193e 11943 119e0 11a34 11a47 11a99 11d42 11d44-11d45 11d97 11f41-11f42 " +
  "1611e-16129 1612f 16d63 16d67-16d6a 16ff0-16ff1 1e08f 1e130-1e136 1e2ae 1e2ec-1e2ef 1e4ec-1e4ef " +
  "1e5ee-1e5ef 1e6e3 1e6e6 1e6ee-1e6ef 1e6f5";

const toClass = (ranges) => `[${ranges.replace(/[0-9a-f]+/g, (hex) => `\\u{${hex}}`).replaceAll(" ", "")}]`;

const OUTSIDE_CATEGORIES = new RegExp(toClass(UNKNOWN_CATEGORY), "gu");
const OUTSIDE_NFC = new RegExp(`(${toClass(UNKNOWN_TO_NFC)})`, "u");
const NEVER_ASSIGNED = "\u{1FFFE}"; // of two code units, and never assigned

/** Tell whether this browser knows at least the characters that Python's libraries know. */
const KNOWS_ENOUGH = /\p{L}/u.test("\u{10940}");

/**
 * Replace characters that are no letters, digits or signs to Python by ones that are none to the browser.
 * The length stays.
 */
export function withPythonsCategories(text) {
  if (!KNOWS_ENOUGH && /\p{Cn}/u.test(text)) {
    throw new Error(
      "This text has a character that is newer than the device's WebView; update Android System WebView.",
    );
  }
  return text
    .replace(OUTSIDE_CATEGORIES, (char) => (char.length === 1 ? "\uFDD0" : NEVER_ASSIGNED))
    .replaceAll("\u0295", "\u00DF"); // a letter that became caseless
}

/** Normalise to NFC as Python's `tokenizers` does. */
export function toNfc(text) {
  const parts = text.split(OUTSIDE_NFC);
  return parts.map((part, index) => (index % 2 ? part : part.normalize("NFC"))).join("");
}

/** Replace halves of surrogate pairs, which no UTF-8 text can hold. */
export function wellFormed(text) {
  return text.replace(/\p{Cs}/gu, "\uFFFD");
}
