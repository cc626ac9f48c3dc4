import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

const ROOM = new URL("../", import.meta.url);
/** @param {string} name */
const read = (name) => readFileSync(new URL(name, ROOM), "utf8");
const files = readdirSync(ROOM).filter((name) => /\.(html|js|css|svg)$/.test(name));
const pages = files.filter((name) => name.endsWith(".html"));

/** The modules a module needs, itself included. @param {string} name @param {Set<string>} [seen] */
function needs(name, seen = new Set()) {
  if (seen.has(name)) return seen;
  seen.add(name);
  for (const [, other] of read(name).matchAll(/^(?:import|export)[^;]* from "\.\/([\w-]+\.js)";/gm)) needs(other, seen);
  return seen;
}

for (const page of pages) {
  const text = read(page);

  test(`${page} keeps to the strict content policy`, () => {
    assert.doesNotMatch(text, /<script(?![^>]*\bsrc=)/, "no inline script");
    assert.doesNotMatch(text, /<style|\sstyle=|\son\w+=/, "no inline style or handler");
    for (const [, address] of text.matchAll(/\b(?:src|href)="([^"]*)"/g)) {
      assert.match(address, /^\//, "nothing from other hosts");
      const name = address.slice(1);
      assert.ok(name === "" || files.includes(name), `${address} exists`);
    }
  });

  test(`${page} loads all its modules at once`, () => {
    const script = /<script type="module" src="\/([\w-]+\.js)"/.exec(text)?.[1];
    if (!script) return;
    const preloaded = [...text.matchAll(/rel="modulepreload" href="\/([\w-]+\.js)"/g)].map(([, name]) => name);
    const needed = [...needs(script)].filter((name) => name !== script);
    assert.deepEqual(preloaded.sort(), needed.sort());
  });
}
