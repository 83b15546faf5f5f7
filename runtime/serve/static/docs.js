// The API in words, from the server's own OpenAPI.

const api = await (await fetch("openapi.json")).json();

function element(name, text = "", ...children) {
  const made = document.createElement(name);
  made.textContent = text;
  made.append(...children);
  return made;
}

const resolved = (schema) => (schema?.$ref ? api.components.schemas[schema.$ref.split("/").at(-1)] : schema);

// A schema's type in a few words: `number, 0 to 1`, `one of png, jpg`, `array of text`.
function typeOf(schema) {
  const { type, enum: among, anyOf, items, minimum: least, maximum: most, title, default: usual } = schema ?? {};
  if (schema?.$ref) return resolved(schema).title;
  if (anyOf) return anyOf.filter((one) => one.type !== "null").map(typeOf).join(" or ");
  const words = [among ? `one of ${among.join(", ")}` : type === "array" ? `array of ${typeOf(items)}` : (type ?? title ?? "anything")];
  if (least !== undefined) words.push(`${least} to ${most ?? "…"}`);
  if (usual || usual === 0) words.push(`${usual} if left out`);
  return words.join(", ");
}

function table(head, rows) {
  const marked = (text) => text.split("`").map((part, i) => (i % 2 ? element("code", part) : part));
  const line = (cell, words) => element("tr", "", ...words.map((word) => element(cell, "", ...marked(word ?? ""))));
  const made = element("table", "", element("thead", "", line("th", head)), element("tbody", "", ...rows.map((row) => line("td", row))));
  return Object.assign(element("div", "", made), { className: "wide", tabIndex: 0 });
}

const about = (one) => one.description ?? resolved(one).description ?? one.anyOf?.[0].description;
const fields = (schema) => Object.entries(schema.properties).map(([name, one]) => [name, typeOf(one), about(one)]);

function curl(method, path, body) {
  const data = body ? " --data-binary @photo.jpg -o answer" : "";
  return element("pre", `curl${data} ${new URL(".", location.href)}${path.slice(1)}`);
}

function operation(path, method, { summary, parameters = [], requestBody: body, responses }) {
  const made = element("section", "", element("h2", `${method.toUpperCase()} ${path}`), element("p", summary), curl(method, path, body));
  if (body) made.append(element("h3", "Body"), element("p", `${body.description} Content types: ${Object.keys(body.content).join(", ")}.`));
  if (parameters.length) {
    const rows = parameters.map(({ name, schema, description }) => [name, typeOf(schema), description ?? about(schema)]);
    made.append(element("h3", "Options"), table(["name", "type", ""], rows));
  }
  const answers = Object.entries(responses).map(([status, { description, content = {} }]) => {
    const [[media, { schema } = {}] = []] = Object.entries(content);
    return [status, schema?.$ref ? typeOf(schema) : media, description];
  });
  made.append(element("h3", "Answers"), table(["status", "type", ""], answers));
  return made;
}

document.getElementById("version").textContent = `lorair ${api.info.version}`;
for (const [path, methods] of Object.entries(api.paths)) {
  for (const [method, one] of Object.entries(methods)) document.getElementById("docs").append(operation(path, method, one));
}
for (const [name, schema] of Object.entries(api.components.schemas)) {
  if (!schema.properties || /Validation/.test(name)) continue;
  const section = element("section", "", element("h2", name), element("p", schema.description ?? ""), table(["field", "type", ""], fields(schema)));
  document.getElementById("docs").append(section);
}
