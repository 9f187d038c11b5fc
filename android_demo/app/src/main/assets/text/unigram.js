/** Split a text into the pieces of a vocabulary whose scores add up to the most. */

const UNKNOWN_PENALTY = 10;

export class Unigram {
  /**
   * @param {Map<string, number>} scores of each piece, its log probability
   * @param {number} lowest of the scores that count
   * @param {(sum: number) => number} round to the precision that the reference adds with
   */
  constructor(scores, lowest, round) {
    this.scores = scores;
    this.unknownScore = round(lowest - UNKNOWN_PENALTY);
    this.round = round;
    this.longest = 0; // in code points
    for (const piece of scores.keys()) this.longest = Math.max(this.longest, [...piece].length);
  }

  /** Pieces of a text in order; neighbouring characters that no piece spells become one piece. */
  split(text) {
    const chars = [...text];
    const best = [{ score: 0 }];
    for (let start = 0; start < chars.length; start += 1) {
      const offer = (end, piece, score, isKnown) => {
        const total = this.round(best[start].score + score);
        if (!best[end] || total > best[end].score) best[end] = { score: total, start, piece, isKnown };
      };
      let piece = "";
      const last = Math.min(chars.length, start + this.longest);
      for (let end = start + 1; end <= last; end += 1) {
        piece += chars[end - 1];
        const score = this.scores.get(piece);
        if (score !== undefined) offer(end, piece, score, true);
      }
      if (!this.scores.has(chars[start])) offer(start + 1, chars[start], this.unknownScore, false);
    }
    return withUnknownFused(best, chars.length);
  }
}

function withUnknownFused(best, length) {
  const path = [];
  for (let end = length; end > 0; end = best[end].start) path.push(best[end]);
  const pieces = [];
  let wasKnown = true;
  for (const { piece, isKnown } of path.reverse()) {
    if (isKnown || wasKnown) pieces.push(piece);
    else pieces[pieces.length - 1] += piece;
    wasKnown = isKnown;
  }
  return pieces;
}
