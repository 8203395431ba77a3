// The OpenAPI description of an index, as a page.

import { choose, describe, find, make, say, show } from "./dom.js";

const named = (reference) => reference.split("/").at(-1);

function typeOf(schema) {
  if (!schema || typeof schema !== "object") return "any";
  if (schema.$ref) return named(schema.$ref);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `[${typeOf(schema.items)}]`;
  const type = Array.isArray(schema.type) ? schema.type.join(" | ") : schema.type ?? "any";
  const limits = [schema.minimum !== undefined ? `from ${schema.minimum}` : "", schema.maximum !== undefined ? `to ${schema.maximum}` : "",
    schema.exclusiveMaximum !== undefined ? `below ${schema.exclusiveMaximum}` : ""].filter(Boolean).join(" ");
  return limits ? `${type} (${limits})` : type;
}

function table(heads, rows) {
  return make("div", { class: "wide" }, make("table", {}, make("thead", {}, make("tr", {}, heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, rows.map((row) => make("tr", {}, row.map((cell) => make("td", {}, cell)))))));
}

function properties({ properties: fields = {}, required = [], description }) {
  return [description ? make("p", { class: "quiet" }, description) : null, table(["field", "type", "default", ""], Object.entries(fields).map(([name, schema]) => [
    make("code", {}, name), typeOf(schema), required.includes(name) ? "required" : JSON.stringify(schema.default ?? null), schema.description ?? ""]))];
}

function operation(path, method, { summary, operationId, parameters = [], requestBody, responses = {}, security = [] }, schemes) {
  const keys = security.flatMap((need) => Object.keys(need)).map((key) => schemes[key]?.name).filter(Boolean);
  const bodies = Object.entries(requestBody?.content ?? {}).map(([type, { schema }]) => [make("code", {}, type), typeOf(schema)]);
  const answers = Object.entries(responses).map(([status, { description, content = {} }]) => [status, description ?? "", Object.values(content).map(({ schema }) => typeOf(schema)).join(", ")]);
  const example = `curl -X ${method.toUpperCase()} ${location.origin}${find("index").value ? `/${find("index").value}` : ""}${path}${keys.map((key) => ` -H '${key}: …'`).join("")} -H 'content-type: application/json' -d '…'`;
  return make("section", { "aria-label": `${method} ${path}` }, make("h2", {}, make("span", { class: "method" }, method.toUpperCase()), path, " ", make("span", { class: "quiet" }, summary ?? operationId ?? "")),
    make("pre", {}, example),
    parameters.length ? [make("h3", {}, "Parameters"), table(["name", "in", "type", ""], parameters.map((each) => [make("code", {}, each.name), each.in, typeOf(each.schema), each.description ?? ""]))] : null,
    bodies.length ? [make("h3", {}, "Body"), table(["media type", "schema"], bodies)] : null,
    make("h3", {}, "Answers"), table(["status", "", "schema"], answers));
}

async function open() {
  const { paths, components } = await describe();
  const schemes = components.securitySchemes ?? {};
  show("paths", ...Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, what]) => operation(path, method, what, schemes))));
  show("schemas", ...Object.entries(components.schemas).flatMap(([name, schema]) => [make("h3", {}, name), ...properties(schema)]).filter(Boolean));
  say("");
}

choose(open);
