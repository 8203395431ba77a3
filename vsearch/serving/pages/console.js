// The console: a form that searches, and what came of it.

import { ask, button, choose, find, inBytes, list, make, readable, say, show } from "./dom.js";
import { condition, equals, join, operators, takesValue } from "./filters.js";
import { bars, curve, strip } from "./pictures.js";

const WAYS = { text: "text", words: "words", vector: "vector", vectors: "vectors", like: "example row" };
const fieldOf = (way) => (way === "vectors" ? "vector" : way);
let attributes = [];

const chosen = () => document.querySelector("input[name=way]:checked")?.value;
const attribute = () => attributes.find(({ name }) => name === find("attribute").value);
const where = () => find("where").value.trim() || null;
const columns = () => [...document.querySelectorAll("input[name=column]:checked")].map(({ value }) => value);

// Run something that asks the server, and report what goes wrong.
async function run(what, task) {
  say(`${what}…`);
  try {
    const message = await task();
    say(message ?? "");
  } catch (error) {
    say(error.status === 401 ? "This server needs an API key: type it above." : error.message, true);
  }
}

const open = () => run("Opening", async () => {
  const found = await ask("describe");
  attributes = found.attributes;
  showWays(found.ways, found.facts);
  show("attribute", ...attributes.map(({ name, type }) => make("option", { value: name }, `${name} (${type})`)));
  find("filter").hidden = !attributes.length;
  const shown = attributes.filter(({ form }) => form !== "list").slice(0, 4).map(({ name }) => name);
  show("columns", ...attributes.map(({ name }) => make("label", {},
    make("input", { type: "checkbox", name: "column", value: name, checked: shown.includes(name) }), ` ${name}`)));
  find("where").value = "";
  show("hits"), show("curve"), show("examples"), show("counted");
  find("nothing").hidden = false, find("plan").hidden = true;
  showFacts(found.facts);
  if (attributes.length) await offerOperators();
});

function showWays(ways, facts) {
  show("ways", ...ways.map((way, place) => {
    const input = make("input", { type: "radio", name: "way", value: way, checked: place === 0 });
    input.addEventListener("change", showWay);
    return make("label", {}, input, ` ${WAYS[way]}`);
  }));
  const documents = ways.includes("vectors");
  find("vector-label").textContent = documents ? "Vectors of a query, as a list of lists" : `Vector of ${facts.dimensions} numbers, in JSON`;
  find("go").disabled = find("measure").disabled = !facts.rows;
  showWay();
}

function showWay() {
  for (const part of document.querySelectorAll(".way")) part.hidden = part.dataset.way !== fieldOf(chosen());
}

async function offerOperators() {
  const { form } = attribute();
  show("operator", ...operators(form).map((operator) => make("option", {}, operator)));
  offerOperand();
  const { values, least, greatest } = await ask("values", { column: attribute().name, where: where() });
  find("operand").placeholder = least === undefined || least === null ? "" : `${readable(least)} to ${readable(greatest)}`;
  show("offered", ...values.filter(({ value }) => value !== null).map(({ value }) => make("option", { value: String(value) })));
  show("values", ...values.slice(0, 12).map(({ value, count }) =>
    button(`${readable(value).slice(0, 60)} · ${readable(count)}`, () => addCondition(equals(attribute(), value)))));
}

function offerOperand() {
  find("operand-label").hidden = !takesValue(find("operator").value);
}

function addCondition(added) {
  find("where").value = join(find("where").value, added);
  show("counted");
  say(`Added to the filter: ${added}`);
}

function build() {
  const operator = find("operator").value;
  try {
    addCondition(condition(attribute(), operator, find("operand").value));
  } catch (error) {
    say(error.message, true);
  }
}

const count = () => run("Counting", async () => {
  const { count: rows } = await ask("rows", { where: where(), limit: 1 });
  find("counted").textContent = `${readable(rows)} rows`;
});

const showRows = () => run("Reading rows", async () => {
  const { rows } = await ask("rows", { where: where(), columns: columns(), limit: 12 });
  show("examples", ...rows.map((row) => {
    const { id, ...values } = row;
    const summary = Object.values(values).map((value) => readable(value).slice(0, 40)).join(" · ");
    return button(`${id}: ${summary}`.slice(0, 120), () => {
      find("like").value = id;
      find("go").focus();
    });
  }));
  if (!rows.length) return "No row passes the filter.";
});

function query() {
  const way = chosen(), text = find(fieldOf(way)).value.trim();
  if (!text) throw new Error(`Nothing to search for: the field for ${WAYS[way]} is empty.`);
  if (way !== "vector" && way !== "vectors") return { [way]: text };
  try {
    return { [way]: JSON.parse(text) };
  } catch {
    throw new Error("A vector is a list of numbers in JSON, such as [0.1, 0.2].");
  }
}

const search = () => run("Searching", async () => {
  const begun = performance.now();
  const found = await ask("search", { ...query(), k: Number(find("k").value), where: where(), columns: columns(), exact: find("exact").checked });
  showHits(found);
  showPlan(found);
  find("results").focus({ preventScroll: window.innerWidth > 800 });
  return `${found.hits.length} hits in ${found.stats.total_milliseconds.toFixed(2)} ms; ${(performance.now() - begun).toFixed(0)} ms with the bill and the way here. Snapshot ${found.snapshot}.`;
});

function showHits({ hits }) {
  find("nothing").hidden = hits.length > 0;
  find("nothing").textContent = "No row passes the filter.";
  if (!hits.length) return show("hits");
  const names = Object.keys(hits[0].columns), matched = hits.some(({ matches }) => matches);
  const heads = ["id", "score", ...names, ...(matched ? ["matches: query vector → position (score)"] : []), ""];
  const rows = hits.map(({ id, score, columns: values, matches }) => make("tr", {},
    make("th", { scope: "row" }, id), make("td", { class: "number" }, Number(score).toPrecision(5)),
    names.map((name) => make("td", {}, make("span", { class: "text" }, readable(values[name])))),
    matched ? make("td", {}, make("span", { class: "text" }, (matches ?? []).map((match, place) => `${place} → ${match.position} (${Number(match.score).toFixed(3)})`).join(", "))) : null,
    make("td", {}, button("Like this", () => like(id), { "aria-label": `Search for rows like ${id}` }))));
  show("hits", make("table", { class: "hits" }, make("thead", {}, make("tr", {}, heads.map((head, place) => make("th", { scope: "col", class: place === 1 ? "number" : null }, head)))),
    make("tbody", {}, rows)));
}

function like(id) {
  document.querySelector("input[name=way][value=like]").checked = true;
  showWay();
  find("like").value = id;
  search();
}

function showPlan({ plan, levels, stats, predicate, notes, bill }) {
  find("plan").hidden = false;
  const shown = levels.filter(({ name, rows }) => rows || name === "returned");
  const filter = predicate ? make("p", {}, "Filter: ", make("code", {}, predicate), `; ${readable(stats.rows_rechecked)} rows were decided by the exact column.`) : null;
  const visits = stats.partitions ? [make("p", {}, `Visited ${readable(stats.partitions_visited)} of ${readable(stats.partitions)} partitions:`), strip(stats.partitions_visited, stats.partitions)] : [];
  show("picture", ...[filter, ...visits,
    bars("Rows that each level processed, on a logarithmic scale", shown.map(({ name, rows }) => [name, rows, readable(rows)]), { logarithmic: true }),
    make("p", { class: "quiet" }, `${inBytes(stats.bytes_read)} processed, ${inBytes(stats.bytes_fetched)} fetched or verified for the first time.${stats.estimated ? " Scores are estimates: the index has no rerank codes." : ""}`),
    ...notes.map((note) => make("p", { class: "note" }, note))].filter(Boolean));
  const times = Object.entries(stats.milliseconds);
  show("times", bars("Milliseconds; scan includes routing, refining and reranking", times.map(([name, ms]) => [name, ms, ms.toFixed(3)])));
  show("settings", ...list(Object.entries(plan).map(([name, value]) => [name, readable(value)])));
  showBill(bill);
}

function showBill(bill) {
  if (!bill) return show("bill", make("p", { class: "quiet" }, "Functions do not answer searches of this kind, so there is no price."));
  const { usage, items, dollars, prices, megabytes } = bill;
  show("bill", make("dl", {}, list([
    ["per million", `$${(dollars * 1e6).toFixed(2)}`],
    ["invocations", `${readable(usage.invocations)}, $${(items.invocations * 1e6).toFixed(2)}`],
    ["compute", `${readable(usage.gigabyte_seconds)} GB-s, $${(items.compute * 1e6).toFixed(2)}`],
    ["object requests", `${readable(usage.requests)}, $${(items.storage * 1e6).toFixed(2)}`],
  ])), make("p", { class: "quiet" }, `What AWS Lambda would charge (${prices.region}, ${prices.date}) for a million such searches, by running the functions of ${megabytes} MB in this process${usage.cold_starts ? "; this one opened the index first, so search again for the price of a warm one" : ""}. This server costs nothing per search.`));
}

function showFacts(facts) {
  const { settings, drift } = facts;
  show("facts", ...list([
    ["name", facts.url], ["snapshot", `${facts.snapshot}, ${facts.created}`],
    ["rows", `${readable(facts.rows)} in ${readable(facts.partitions)} partitions, ${readable(facts.shards)} ${facts.shards === 1 ? "shard" : "shards"}`],
    ["vectors", `${facts.dimensions} dimensions, ${facts.metric}, ${facts.quantizer} of ${readable(facts.bits)} bits, rerank ${facts.rerank ?? "none"}`],
    ["recall", settings.recall === null ? "not measured" : `${readable(settings.recall)} at k = ${readable(settings.k)} (target ${readable(settings.target)})`],
    ["size", inBytes(facts.bytes)],
    ...(facts.documents ? [["documents", `${readable(facts.documents.vectors)} vectors of ${facts.documents.dimensions} dimensions`]] : []),
    ...(facts.ttl ? [["expiry", facts.ttl]] : []),
  ]));
  const parts = Object.entries(facts.bytes_per_vector_by_part).filter(([, size]) => size >= 0.05).sort((one, other) => other[1] - one[1]);
  show("bytes", bars(`${readable(facts.bytes_per_vector)} of codes per vector; with everything else:`, parts.map(([part, size]) => [part, size, readable(size)])));
  show("drift", make("dl", {}, list([
    ["runs by shard", readable(facts.runs)], ["deltas", readable(facts.deltas)], ["rows in the tail", readable(facts.tail_rows)],
    ["removed rows in files", readable(facts.removed)], ["expired rows", readable(facts.expired)],
    ["residual energy", `${readable(drift.energy)} × that of the training`], ["rows", `${readable(drift.rows)} × those of the training`],
  ])), make("p", { class: drift.recommendation ? "note" : "quiet" }, drift.recommendation ?? "Nothing needs to be done."));
}

const measure = () => run("Measuring", async () => {
  find("measure").disabled = true;
  try {
    show("curve", ...curve(await ask("curve", { k: Math.min(100, Number(find("k").value) || 10) }), find("curve").clientWidth));
  } finally {
    find("measure").disabled = false;
  }
});

find("query").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
find("attribute").addEventListener("change", () => run("Reading values", offerOperators));
find("operator").addEventListener("change", offerOperand);
find("operand").addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault(), build();
});
find("add").addEventListener("click", build);
find("clear").addEventListener("click", () => {
  find("where").value = "";
  show("counted");
});
find("count").addEventListener("click", count);
find("show-rows").addEventListener("click", showRows);
find("measure").addEventListener("click", measure);
choose(open);
