// schema.mjs internal.go out.json: a JSON schema of the Kubernetes API from client-go's own table of types. It allows no member that the API
// does not have, which the models of npm's kubernetes-models do.
import fs from "node:fs";
import YAML from "yaml";

const SCALARS = { string: { type: "string" }, numeric: { type: "number" }, boolean: { type: "boolean" }, untyped: {} };

function typeOf(t) {
  if (t.namedType) return { $ref: `#/definitions/${t.namedType}` };
  if (t.scalar) return SCALARS[t.scalar];
  if (t.list) return { type: "array", items: typeOf(t.list.elementType) };
  if (t.map) return mapOf(t.map);
  return {};
}

function mapOf(m) {
  const schema = { type: "object" };
  if (m.elementType) schema.additionalProperties = typeOf(m.elementType);
  if (m.fields) {
    schema.properties = Object.fromEntries(m.fields.map((f) => [f.name, typeOf(f.type)]));
    schema.additionalProperties ??= false;
  }
  return schema;
}

const [, , input, output] = process.argv;
const table = /schemaYAML = typed\.YAMLObject\(`([^`]*)`\)/.exec(fs.readFileSync(input, "utf8"))[1];
const definitions = {};
for (const { name, ...type } of YAML.parse(table).types) {
  if (/\.(Quantity|IntOrString)$/.test(name)) definitions[name] = { type: ["string", "number"] };
  else if (name.endsWith(".Time")) definitions[name] = { type: "string" };
  else if (name.startsWith("__untyped") || name.endsWith(".FieldsV1")) definitions[name] = {};
  else definitions[name] = typeOf(type);
}
fs.writeFileSync(output, JSON.stringify({ $id: "kubernetes", definitions }));
