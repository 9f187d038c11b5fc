// Reads {tokenizer, texts, cuts} as JSON from stdin; prints what the page's tokenizer makes of each text.
import { readFileSync } from "node:fs";

const { assets, tokenizer: path, texts } = JSON.parse(readFileSync(0, "utf8"));
const { TextStream, Tokenizer } = await import(`${assets}/text/tokenizer.js`);

function streamed(tokenizer, ids) {
  const stream = new TextStream(tokenizer, []);
  return ids.map((id) => stream.add([id]));
}

try {
  const tokenizer = new Tokenizer(path, readFileSync(path));
  const results = texts.map((text) => {
    const ids = tokenizer.encode(text);
    return { ids, text: tokenizer.decode(ids), pieces: ids.length < 400 ? streamed(tokenizer, ids) : [] };
  });
  const markers = Array.from({ length: tokenizer.vocabSize }, (_, id) => id).filter((id) => tokenizer.isMarker(id));
  process.stdout.write(JSON.stringify({ vocab_size: tokenizer.vocabSize, markers, results }));
} catch (error) {
  process.stdout.write(JSON.stringify({ error: error.message }));
}
