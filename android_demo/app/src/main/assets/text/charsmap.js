/**
 * SentencePiece's precompiled normalisation: a double-array trie of byte strings to replace, then the replacements,
 * each ended by a zero byte. The trie is Darts-clone's: 32-bit units of label, offset and leaf bit.
 */
export class CharsMap {
  /** @param {Uint8Array} blob the field `precompiled_charsmap`; empty for none */
  constructor(blob) {
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const size = blob.length ? view.getUint32(0, true) : 0;
    this.units = Uint32Array.from({ length: size / 4 }, (_, index) => view.getUint32(4 + 4 * index, true));
    this.replacements = blob.subarray(4 + size);
  }

  /** The longest entry that starts at a place of UTF-8 text: [bytes it takes, replacement]; null if none does. */
  longest(bytes, start) {
    if (!this.units.length) return null;
    let at = offsetOf(this.units[0]);
    let found = null;
    for (let end = start; end < bytes.length; end += 1) {
      at ^= bytes[end];
      const unit = this.units[at];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== bytes[end]) break;
      at ^= offsetOf(unit);
      if ((unit >>> 8) & 1) found = [end + 1 - start, this.units[at] & 0x7fffffff];
    }
    return found && [found[0], this.replacement(found[1])];
  }

  replacement(from) {
    return this.replacements.subarray(from, this.replacements.indexOf(0, from));
  }
}

function offsetOf(unit) {
  return (unit >>> 10) << ((unit & 512) >>> 6);
}
