// Elements from values. Every value becomes a text node or an attribute that is set as such: no HTML is ever parsed.

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on") || name === "style" || name === "href" || name === "src") throw new Error(`${name} is not for values`);
    if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
export const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const show = (id, ...children) => find(id).replaceChildren(...children);

export function button(text, pressed, attributes = {}) {
  const made = make("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", pressed);
  return made;
}

// A value as people read it.
export function readable(value) {
  if (value === null || value === undefined) return "NULL";
  if (Array.isArray(value)) return value.map(readable).join(", ");
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) >= 1000 ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : String(Number(value.toPrecision(4)));
}

export function inBytes(count) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (Math.abs(count) < 1000) return `${unit === "B" ? Math.round(count) : count.toFixed(1)} ${unit}`;
    count /= 1000;
  }
  return `${count.toFixed(1)} TB`;
}

export const list = (pairs) => pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]);

export function say(message, bad = false) {
  const status = find("status");
  status.classList.toggle("bad", bad);
  status.textContent = message;
}

// The key is kept in the field alone: not in storage, not in the address.
async function fetched(path, body) {
  const key = find("key").value;
  const headers = { ...(key ? { "x-api-key": key } : {}), ...(body === undefined ? {} : { "content-type": "application/json" }) };
  const reply = await fetch(path, { method: body === undefined ? "GET" : "POST", headers, body: body === undefined ? undefined : JSON.stringify(body) });
  let document;
  try {
    document = await reply.json();
  } catch {
    throw new Error(`the server answered with status ${reply.status} and no JSON`);
  }
  if (!reply.ok) throw Object.assign(new Error(document.message ?? `status ${reply.status}`), { status: reply.status });
  return document;
}

const prefix = () => (find("index").value ? `/${encodeURIComponent(find("index").value)}` : "");

export const ask = (what, body = {}) => fetched(`${prefix()}/console/${what}`, body);
export const describe = () => fetched(`${prefix()}/openapi.json`);

// Fill the choice of indexes, and call `changed` now, whenever another index is chosen, and when a key was typed.
export async function choose(changed) {
  const load = async () => {
    try {
      const { indexes } = await fetched("/console/indexes");
      const before = find("index").value;
      show("index", ...indexes.map((name) => make("option", { value: name }, name || "(the index at /)")));
      if (indexes.includes(before)) find("index").value = before;
      find("index-choice").hidden = indexes.length < 2;
      await changed();
    } catch (error) {
      say(error.status === 401 ? "This server needs an API key: type it above." : error.message, true);
    }
  };
  find("key").addEventListener("change", load);
  find("index").addEventListener("change", () => changed().catch((error) => say(error.message, true)));
  await load();
}
