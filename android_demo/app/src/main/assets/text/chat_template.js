/** Turn a conversation into a prompt, by the template that comes with a model, as edge/model/chat_template.py does. */

import { Environment, Interpreter, Template } from "../vendor/jinja.js";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = "January February March April May June July August September October November December".split(
  " ",
);

export class ChatTemplate {
  /**
   * @param {string} text of the template, in Jinja
   * @param {Record<string, string>} markers special tokens that it may use, such as bos_token, by name
   */
  constructor(text, markers) {
    this.markers = markers;
    try {
      this.parsed = new Template(text).parsed;
    } catch (error) {
      throw new Error(`The model's chat template cannot be read here (${oneLine(error)}).`);
    }
    this.render([{ role: "user", content: "Hello" }]);
  }

  /** The prompt that asks for the next answer to messages of {role, content}. */
  render(messages) {
    messages.forEach((message) => checkSpaces(message.content));
    try {
      return new Interpreter(this.environment(messages)).run(this.parsed).value;
    } catch (error) {
      throw new Error(`The model's chat template fails on these messages (${oneLine(error)}).`);
    }
  }

  environment(messages) {
    const environment = new Environment();
    const names = { true: true, True: true, false: false, False: false, none: null, None: null };
    const functions = { range, dict, raise_exception: fail, strftime_now: strftimeNow };
    const given = { messages, tools: null, documents: null, add_generation_prompt: true, ...this.markers };
    for (const [name, value] of Object.entries({ ...names, ...functions, ...given }))
      environment.set(name, value);
    return environment;
  }
}

/** Python and the browser disagree whether these are spaces, which templates trim. */
function checkSpaces(text) {
  const odd = /[\u001c-\u001f\u0085\ufeff]/.exec(text);
  if (!odd) return;
  const code = odd[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  throw new Error(`The message has the invisible character U+${code}; remove it.`);
}

function range(...bounds) {
  const [start, stop, step] =
    bounds.length === 1 ? [0, bounds[0], 1] : [bounds[0], bounds[1], bounds[2] ?? 1];
  return Array.from({ length: Math.max(0, Math.ceil((stop - start) / step)) }, (_, i) => start + i * step);
}

/** Named arguments arrive as a map of the library's own values. */
function dict(named = new Map()) {
  if (!(named instanceof Map)) fail("dict of a list");
  const plain = ({ value }) => (value !== null && typeof value === "object" ? fail("dict of lists") : value);
  return Object.fromEntries([...named].map(([name, value]) => [name, plain(value)]));
}

function fail(message) {
  throw new Error(message);
}

/** Python's strftime of this moment, with English names. */
export function strftimeNow(format, now = new Date()) {
  const two = (number) => String(number).padStart(2, "0");
  const values = {
    a: () => DAYS[now.getDay()].slice(0, 3),
    A: () => DAYS[now.getDay()],
    b: () => MONTHS[now.getMonth()].slice(0, 3),
    B: () => MONTHS[now.getMonth()],
    d: () => two(now.getDate()),
    H: () => two(now.getHours()),
    I: () => two(now.getHours() % 12 || 12),
    m: () => two(now.getMonth() + 1),
    M: () => two(now.getMinutes()),
    p: () => (now.getHours() < 12 ? "AM" : "PM"),
    S: () => two(now.getSeconds()),
    y: () => two(now.getFullYear() % 100),
    Y: () => String(now.getFullYear()),
    "%": () => "%",
  };
  return format.replace(/%(.)/gs, (code, letter) => values[letter]?.() ?? fail(`strftime_now with ${code}`));
}

function oneLine(error) {
  return error.message.replace(/\s+/g, " ").trim();
}
