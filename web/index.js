/** The front page: the streams that chose to be listed. */
import { banyan, html, need, write } from "./dom.js";
import { plural } from "./format.js";
import { isStreamId } from "./wire.js";

/** How often (ms) the list renews itself. */
const RENEW = 4000;

/**
 * @typedef {object} Listed
 * @property {string} stream
 * @property {string} title
 * @property {string} state
 * @property {number} viewers
 */

const cards = need("streams", HTMLElement);
const empty = need("empty", HTMLElement);
const trouble = need("trouble", HTMLElement);
const news = need("news", HTMLElement);
write(need("how", HTMLElement), `banyan broadcast clip.mp4 --listed --tracker ${location.origin}`);

/** @type {Map<string, ReturnType<typeof makeCard>>} */
const shown = new Map();

/** @param {string} stream */
function makeCard(stream) {
  const title = html("h2", {});
  const state = html("span", { class: "pill" });
  const viewers = html("span", { class: "muted" });
  const link = html(
    "a",
    { class: "card", href: `/watch/${stream}` },
    html("div", { class: "card-art" }, banyan()),
    html("div", { class: "card-body" }, title, html("p", { class: "card-line" }, state, viewers)),
  );
  return { item: html("li", {}, link), link, title, state, viewers };
}

const STATES = /** @type {Record<string, [string, string]>} */ ({
  live: ["Live", "good"],
  waiting: ["Starting soon", "busy"],
  away: ["Away", "calm"],
  offline: ["Offline", "calm"],
});

/** @param {Listed[]} streams */
function show(streams) {
  const order = { live: 0, away: 1, waiting: 2, offline: 3 };
  const rank = (/** @type {string} */ state) => order[/** @type {keyof typeof order} */ (state)] ?? 3;
  streams.sort((a, b) => rank(a.state) - rank(b.state) || b.viewers - a.viewers);
  const names = new Set(streams.map(({ stream }) => stream));
  for (const [name, card] of shown) {
    if (names.has(name)) continue;
    card.item.remove();
    shown.delete(name);
  }
  streams.forEach((entry, i) => {
    const card = shown.get(entry.stream) ?? makeCard(entry.stream);
    shown.set(entry.stream, card);
    const [word, tone] = STATES[entry.state] ?? [entry.state, "calm"];
    write(card.title, entry.title || "Untitled stream");
    write(card.state, word);
    card.state.dataset.tone = tone;
    card.link.dataset.tone = tone;
    write(card.viewers, plural(entry.viewers, "viewer"));
    // A card that stands right is left alone, so that it keeps the keyboard's focus.
    if (cards.children[i] !== card.item) cards.insertBefore(card.item, cards.children[i] ?? null);
  });
  empty.hidden = streams.length > 0;
  trouble.hidden = true;
  document.documentElement.dataset.state = streams.length > 0 ? "listed" : "empty";
  write(news, streams.length > 0 ? `${plural(streams.length, "stream")} listed` : "No stream is listed");
}

/** @param {unknown} body @returns {Listed[]} */
function read(body) {
  const inner = Array.isArray(body) ? body : /** @type {{ streams?: unknown }} */ (body)?.streams;
  if (!Array.isArray(inner)) throw new Error("no list of streams");
  return inner.slice(0, 500).flatMap((/** @type {Record<string, unknown>} */ entry) => {
    const stream = String(entry?.stream ?? entry?.id ?? "");
    if (!isStreamId(stream)) return [];
    const title = String(entry.title ?? "").slice(0, 200);
    return [{ stream, title, state: String(entry.state ?? ""), viewers: Number(entry.viewers) || 0 }];
  });
}

/** Asks for the list, again and again. */
async function renew() {
  try {
    const answer = await fetch("/api/streams", { cache: "no-store", signal: AbortSignal.timeout(8000) });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show(read(await answer.json()));
  } catch {
    document.documentElement.dataset.state = "trouble";
    trouble.hidden = false;
    empty.hidden = true;
    write(news, "The tracker does not answer");
  }
  // Nobody looks at a page in the background.
  if (document.hidden) document.addEventListener("visibilitychange", renew, { once: true });
  else setTimeout(renew, RENEW);
}

void renew();
