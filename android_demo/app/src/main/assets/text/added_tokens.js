/** Find tokens that are written out in a text, such as <|im_end|>: the longest one at the leftmost place. */

export class AddedTokens {
  /** @param {{content: string, id: number, lstrip: boolean, rstrip: boolean}[]} tokens */
  constructor(tokens) {
    this.byFirst = new Map();
    for (const token of tokens.filter((each) => each.content)) {
      const first = token.content[0];
      if (!this.byFirst.has(first)) this.byFirst.set(first, []);
      this.byFirst.get(first).push(token);
    }
    for (const same of this.byFirst.values()) same.sort((a, b) => b.content.length - a.content.length);
  }

  /** Parts of a text in order: {text, start} or {id}. */
  split(text) {
    const parts = [];
    let done = 0;
    let at = 0;
    while (at < text.length) {
      const token = this.byFirst.get(text[at])?.find((each) => text.startsWith(each.content, at));
      if (!token) {
        at += 1;
        continue;
      }
      let stop = at + token.content.length;
      const start = token.lstrip ? Math.max(done, endOfText(text.slice(0, at))) : at;
      at = stop;
      if (token.rstrip) stop += /^\p{White_Space}*/u.exec(text.slice(stop))[0].length;
      if (start > done) parts.push({ text: text.slice(done, start), start: done });
      parts.push({ id: token.id });
      done = stop;
    }
    if (done < text.length) parts.push({ text: text.slice(done), start: done });
    return parts;
  }
}

function endOfText(text) {
  return text.length - /\p{White_Space}*$/u.exec(text)[0].length;
}
