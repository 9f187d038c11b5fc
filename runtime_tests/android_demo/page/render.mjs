// Reads {assets, template, markers, conversations} as JSON from stdin; prints the prompt or the error of each.
import { readFileSync } from "node:fs";

const { assets, template, markers, conversations } = JSON.parse(readFileSync(0, "utf8"));
const { ChatTemplate } = await import(`${assets}/text/chat_template.js`);

const attempt = (make) => {
  try {
    return { prompt: make() };
  } catch (error) {
    return { error: error.message };
  }
};
const results = conversations.map((messages) =>
  attempt(() => new ChatTemplate(template, markers).render(messages)),
);
process.stdout.write(JSON.stringify(results));
