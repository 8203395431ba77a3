// Conditions in SQL from what was clicked.

const TESTS = {
  number: ["=", "<>", "<", "<=", ">", ">=", "IN", "IS NULL", "IS NOT NULL"],
  text: ["=", "<>", "contains", "starts with", "ILIKE", "IN", "IS NULL", "IS NOT NULL"],
  time: ["=", "<", "<=", ">", ">=", "IS NULL", "IS NOT NULL"],
  "yes/no": ["IS TRUE", "IS FALSE", "IS NULL", "IS NOT NULL"],
  list: ["contains", "contains any of", "contains all of", "IS NULL", "IS NOT NULL"],
};

export const operators = (form) => TESTS[form] ?? TESTS.text;
export const takesValue = (operator) => !operator.startsWith("IS ");

export const name = (text) => `"${text.replaceAll('"', '""')}"`;
export const string = (text) => `'${text.replaceAll("'", "''")}'`;

function literal(attribute, text) {
  const type = attribute.form === "list" ? attribute.type.slice(5, -1) : attribute.type;
  if (type === "string" || type.startsWith("large_string")) return string(text);
  if (type.startsWith("timestamp")) return `TIMESTAMP ${string(text)}`;
  if (type.startsWith("date")) return `DATE ${string(text)}`;
  const number = text.trim();
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(number)) throw new Error(`“${text}” is not a number`);
  return number;
}

const several = (attribute, text) => text.split(",").map((part) => literal(attribute, part.trim())).join(", ");

export function condition(attribute, operator, text) {
  const column = name(attribute.name);
  if (!takesValue(operator)) return `${column} ${operator}`;
  if (operator === "IN") return `${column} IN (${several(attribute, text)})`;
  if (attribute.form === "list") {
    if (operator === "contains") return `list_contains(${column}, ${literal(attribute, text)})`;
    return `list_has_${operator.includes("any") ? "any" : "all"}(${column}, [${several(attribute, text)}])`;
  }
  if (operator === "contains") return `contains(${column}, ${string(text)})`;
  if (operator === "starts with") return `starts_with(${column}, ${string(text)})`;
  return `${column} ${operator} ${literal(attribute, text)}`;
}

// The condition that a frequent value stands for.
export function equals(attribute, value) {
  if (value === null) return `${name(attribute.name)} IS NULL`;
  if (attribute.form === "yes/no") return `${name(attribute.name)} IS ${value ? "TRUE" : "FALSE"}`;
  return condition(attribute, attribute.form === "list" ? "contains" : "=", String(value));
}

// With OR the condition before must be in parentheses, or AND would take only its last part.
export function join(before, added) {
  const text = before.trim();
  if (!text) return added;
  return `${/\bOR\b/i.test(text) ? `(${text})` : text} AND ${added}`;
}
