/** One conversation and the answer that is being generated; the app keeps both, so that a reload loses neither. */

import { call, listen } from "./host.js";
import { tokenizerOf } from "./programs.js";
import { joined, promptTokens } from "./prompt.js";
import { isElastic, modelOf, store } from "./store.js";
import { TextStream } from "./text/tokenizer.js";

const EMPTY = { title: "", system: "", turns: [] };

export class Talk {
  /**
   * @param {(turn: object | null) => void} onChange gets the turn whose text grew; null if anything may differ
   * @param {(error: Error) => void} onError gets what fails while no call of the view waits for it
   */
  constructor(onChange, onError) {
    this.onChange = onChange;
    this.onError = onError;
    this.conversation = structuredClone(EMPTY);
    this.running = null; // {turn, run, waiting, stream, firstAt, resolve}
    listen("token", (event) => this.receive(event));
    listen("done", (event) => this.receive(event));
    listen("failed", (event) => this.receive(event));
    listen("reconnected", () => this.catchUp().catch(onError));
  }

  /** Begin an empty conversation, with the same words to the model as the last. */
  async begin() {
    await this.stop();
    this.conversation = { ...structuredClone(EMPTY), system: this.conversation.system };
    this.onChange(null);
  }

  async open(id) {
    if (id === this.conversation.id && this.running) return;
    await this.stop();
    this.conversation = (await call("conversations.get", { id })).conversation;
    await this.restoreTexts();
    this.onChange(null);
  }

  /** After a reload: take up the answer that is being generated, or else the last conversation. */
  async resume() {
    const current = await call("generate.current");
    const { conversations } = await call("conversations.list");
    const id = (current.run !== null && current.conversation) || conversations[0]?.id;
    if (!id) return;
    await this.open(id);
    const turn = current.run === null ? undefined : this.conversation.turns[current.turn];
    if (turn) this.takeUp(turn, current).catch(this.onError);
    else await this.dropUnbegun();
  }

  /** Add a text of the user and let each of the programs answer it, one after the other. */
  async send(text, models) {
    const { turns } = this.conversation;
    const isStory = models[0].chat_template === null;
    turns.push({ role: "user", text: isStory ? joined(turns, text) : text });
    for (const model of models) turns.push({ role: "assistant", text: "", model: model.id });
    this.conversation.title ||= titleOf(text);
    try {
      await this.answerUnbegun();
    } catch (error) {
      if (turns.at(-1).role === "user") turns.pop(); // no program took it
      await this.save();
      this.onChange(null);
      throw error;
    }
  }

  /** Let another program answer the last text too. */
  async answerToo(model) {
    this.conversation.turns.push({ role: "assistant", text: "", model: model.id });
    await this.answerUnbegun();
  }

  /** Generate an answer anew. */
  async retry(turn) {
    for (const name of ["ids", "stats", "partial"]) delete turn[name];
    turn.text = "";
    await this.answerUnbegun();
  }

  async save() {
    const { turns } = this.conversation;
    const saved = await call("conversations.save", { conversation: this.conversation });
    this.conversation = { ...saved.conversation, turns };
  }

  /** Stop the answer within a token; resolves when it has ended. */
  async stop() {
    const running = this.running;
    if (!running) return;
    running.isStopped = true;
    if (running.run !== null) await call("generate.stop", { run: running.run });
    await running.ended;
  }

  /** Let the answer that is being generated go on at the width of the settings. */
  async applyWidth() {
    const { turn, run } = this.running ?? {};
    if (!run || !isElastic(modelOf(turn.model))) return;
    await call("generate.width", { run, width: store.settings.width });
  }

  async answerUnbegun() {
    await this.save();
    try {
      for (let turn; (turn = this.conversation.turns.find(isUnbegun));) {
        const ended = await this.answer(turn);
        if (!ended) break;
      }
    } finally {
      await this.dropUnbegun();
    }
  }

  /** Generate one answer; resolves to true if it came to an end of its own. */
  async answer(turn) {
    const index = this.conversation.turns.indexOf(turn);
    const model = modelOf(turn.model);
    this.start(turn, null);
    try {
      if (!model) throw new Error("The program of this answer was deleted; choose another.");
      const tokens = await promptTokens(model, this.conversation, index);
      checkLength(tokens, model);
      const running = this.running;
      running.stream = new TextStream(await tokenizerOf(model), tokens);
      const { temperature, top_p, top_k, seed, max_new_tokens } = store.settings;
      const sampling = { temperature, top_p, top_k, seed, max_new_tokens };
      const place = { conversation: this.conversation.id, turn: index };
      const width = isElastic(model) ? store.settings.width : 0;
      const { run } = await call("generate.start", { model: model.id, tokens, width, ...sampling, ...place });
      running.run = run;
      if (running.isStopped) await call("generate.stop", { run });
      if (store.settings.width !== width) await this.applyWidth(); // it was moved meanwhile
      running.waiting.splice(0).forEach((event) => this.receive(event));
      const isWhole = await running.ended;
      if (running.error) throw new Error(running.error);
      return isWhole;
    } catch (error) {
      this.finish(false);
      throw error;
    } finally {
      if (!turn.ids?.length && !turn.stats) this.remove(turn);
      await this.save();
      this.onChange(null);
    }
  }

  start(turn, run) {
    let resolve;
    const ended = new Promise((done) => {
      resolve = done;
    });
    this.running = { turn, run, waiting: [], stream: null, firstAt: null, resolve, ended };
    turn.ids ??= [];
    turn.partial = true;
    this.onChange(null);
  }

  finish(value) {
    const running = this.running;
    this.running = null;
    running?.resolve(value);
  }

  receive(event) {
    const running = this.running;
    if (!running) return;
    if (running.run === null) running.waiting.push(event);
    else if (event.run !== running.run) return;
    else if (running.isTakenUp) this.catchUp().catch(this.onError);
    else if (event.event === "token") this.grow(event.ids);
    else if (event.event === "done") this.end(event.stats);
    else this.fail(event.error);
  }

  grow(ids) {
    const { turn, stream } = this.running;
    this.running.firstAt ??= performance.now();
    turn.ids.push(...ids);
    turn.text += stream.add(ids);
    this.onChange(turn);
  }

  end(stats) {
    const { turn } = this.running;
    turn.stats = stats;
    turn.partial = false;
    this.finish(stats.end !== "stopped");
  }

  fail(sentence) {
    this.running.error = sentence;
    this.finish(false);
  }

  /** Follow an answer that an earlier page began: the app tells all its ids each time. */
  async takeUp(turn, current) {
    this.start(turn, current.run);
    this.running.isTakenUp = true;
    await this.catchUp();
    await this.running?.ended;
    await this.save();
    this.onChange(null);
    if (turn.stats && turn.stats.end !== "stopped") await this.answerUnbegun();
    else await this.dropUnbegun();
  }

  /** Ask the app for what exists of the answer; events that arrive meanwhile may ask too, and end it. */
  async catchUp() {
    const running = this.running;
    if (!running || running.run === null) return;
    running.isTakenUp = true;
    const current = await call("generate.current");
    const isOver = current.run !== running.run;
    const found = isOver ? await this.kept(running.turn) : current;
    const ids = found.ids ?? [];
    const text = await this.textOf(running.turn, ids);
    if (this.running !== running) return;
    if (isOver || ids.length > running.turn.ids.length) Object.assign(running.turn, { ids, text });
    this.onChange(running.turn);
    if (!isOver) return;
    Object.assign(running.turn, { stats: found.stats, partial: found.partial ?? true });
    this.finish(Boolean(found.stats));
  }

  /** A turn as the app kept it. */
  async kept(turn) {
    const { conversation } = await call("conversations.get", { id: this.conversation.id });
    return conversation.turns[this.conversation.turns.indexOf(turn)] ?? {};
  }

  /** The text of an answer's ids; the one that it has where its program was deleted. */
  async textOf(turn, ids) {
    const model = modelOf(turn.model);
    if (!model || !ids.length) return turn.text;
    const tokens = await promptTokens(model, this.conversation, this.conversation.turns.indexOf(turn));
    return new TextStream(await tokenizerOf(model), tokens).add(ids);
  }

  /** Spell the answers from their ids, which the app keeps even while no page is there to write their text. */
  async restoreTexts() {
    for (const turn of this.conversation.turns.filter((each) => each.ids?.length)) {
      // Where the program cannot be read any more, the text that was kept stays.
      turn.text = await this.textOf(turn, turn.ids).catch(() => turn.text);
    }
  }

  /** Remove answers that nobody began and nobody will. */
  async dropUnbegun() {
    const unbegun = this.conversation.turns.filter(isUnbegun);
    if (!unbegun.length) return;
    unbegun.forEach((turn) => this.remove(turn));
    await this.save();
    this.onChange(null);
  }

  remove(turn) {
    const { turns } = this.conversation;
    if (turns.includes(turn)) turns.splice(turns.indexOf(turn), 1);
  }
}

function titleOf(text) {
  return [...text.trim().replace(/\s+/g, " ")].slice(0, 60).join("");
}

function isUnbegun(turn) {
  return turn.role === "assistant" && !turn.ids?.length && !turn.stats;
}

function checkLength(tokens, model) {
  if (tokens.length <= model.max_seq_len) return;
  throw new Error(
    `The text has ${tokens.length} tokens and this program holds ${model.max_seq_len}; ` +
      "shorten it or begin a new conversation.",
  );
}
