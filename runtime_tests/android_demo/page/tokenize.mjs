// Reads {assets, tokenizer, texts, sequences} as JSON from stdin: prints the ids of the texts, and the texts of the
// sequences of ids, whole and token by token.
import { readFileSync } from "node:fs";

const { assets, tokenizer: path, texts, sequences } = JSON.parse(readFileSync(0, "utf8"));
const { TextStream, Tokenizer } = await import(`${assets}/text/tokenizer.js`);

function answer() {
  const tokenizer = new Tokenizer(path, readFileSync(path));
  const streamed = (ids) => {
    const stream = new TextStream(tokenizer, []);
    return ids.map((id) => stream.add([id]));
  };
  const decoded = sequences.map((ids) => ({
    text: tokenizer.decode(ids),
    pieces: ids.length < 300 ? streamed(ids) : [tokenizer.decode(ids)],
  }));
  const all = Array.from({ length: tokenizer.vocabSize }, (_, id) => id);
  return {
    vocab_size: tokenizer.vocabSize,
    markers: all.filter((id) => tokenizer.isMarker(id)),
    ids: texts.map((text) => tokenizer.encode(text)),
    decoded,
  };
}

let result;
try {
  result = answer();
} catch (error) {
  result = { error: error.message };
}
process.stdout.write(JSON.stringify(result));
